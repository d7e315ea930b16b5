package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

const (
	freshPace   = time.Millisecond     // between UDP flows
	lastingPace = 5 * time.Millisecond // between datagrams of the lasting flow
	connectPace = 5 * time.Millisecond // between TCP connections
	requestPace = 2 * time.Millisecond // between requests until one is answered
	connectMost = 30 * time.Second     // maximum time to open a connection, also if rules were missing at first
)

// load is continuous traffic of one container to the server.
type load struct {
	w              *world
	from           *pod
	far            *farEnd
	who, udp, sink netip.AddrPort // addresses of the server; the sink does not answer
	wg             sync.WaitGroup

	mu          sync.Mutex
	port        uint16 // source port of the next connection; each has another
	connections map[uint16]connection
	flows       map[string]error // flows that began with a change, by name
	sent        map[string]int
	faults      []string
}

// connection is the result of a TCP connection.
type connection struct {
	took time.Duration
	seen netip.AddrPort // source that the server saw
	err  error
}

// newLoad starts the server side of a load.
func (w *world) newLoad(from *pod, all ...*pod) *load {
	w.t.Helper()
	who, udp := w.servers(w.V4.Server)
	silent := assert.Must(w.Server.ListenUDP(at(w.V4.Server, 0)))(w.t)
	w.t.Cleanup(func() { assert.NoError(w.t, silent.Close()) })
	return &load{
		w: w, from: from, far: w.watchFarEnd(udp.Port(), all...),
		who: who, udp: udp, sink: silent.LocalAddr().(*net.UDPAddr).AddrPort(),
		port: 1024, connections: map[uint16]connection{}, flows: map[string]error{}, sent: map[string]int{},
	}
}

func (l *load) fault(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

func (l *load) add(what string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[what] += n
}

// each calls f at this pace until the context ends.
func (l *load) each(ctx context.Context, pace time.Duration, f func(n int) error) {
	l.wg.Go(func() {
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := f(n); err != nil {
				l.fault("%v", err)
				return
			}
		}
	})
}

// fresh sends datagrams, each from another port, so that the kernel decides on each of them.
func (l *load) fresh(ctx context.Context) {
	l.w.t.Helper()
	fd := -1
	assert.NoError(l.w.t, l.from.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	}))
	raw := os.NewFile(uintptr(fd), "fresh flows")
	to := &unix.SockaddrInet4{Addr: l.sink.Addr().As4()}
	l.w.t.Cleanup(func() { assert.NoError(l.w.t, raw.Close()) })
	l.each(ctx, freshPace, func(n int) error {
		l.add("flows", 1)
		// Ports that the kernel chooses begin above these.
		packet := datagram(at(l.from.addr(to4), uint16(1024+n%31000)), l.sink, uint64(n))
		return os.NewSyscallError("sendto", unix.Sendto(fd, packet, 0, to))
	})
}

// to4 stands for the family of IPv4.
var to4 = netip.IPv4Unspecified()

// datagram is an IPv4 packet with a number.
func datagram(from, to netip.AddrPort, number uint64) []byte {
	b := make([]byte, 36)
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], from.Addr().AsSlice())
	copy(b[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(b[20:], from.Port())
	binary.BigEndian.PutUint16(b[22:], to.Port())
	binary.BigEndian.PutUint16(b[24:], uint16(len(b)-20))
	binary.BigEndian.PutUint64(b[28:], number)
	return b // without a checksum, which is optional for UDP over IPv4
}

// lasting sends one UDP flow with this name.
func (l *load) lasting(ctx context.Context, name string) {
	l.w.t.Helper()
	c := assert.Must(l.from.Dial(ctx, "udp", netip.AddrPort{}, l.udp))(l.w.t)
	l.w.t.Cleanup(func() { assert.NoError(l.w.t, c.Close()) })
	l.each(ctx, lastingPace, func(int) error {
		l.add(name, 1)
		_, err := io.WriteString(c, name)
		return err
	})
}

// connects begins TCP connections.
func (l *load) connects(ctx context.Context) {
	l.each(ctx, connectPace, func(int) error {
		l.connect(ctx)
		return nil
	})
}

// connect opens one connection, and returns before it is established. The end of the context
// does not interrupt it.
func (l *load) connect(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.port++
	port := l.port
	l.wg.Go(func() {
		c := l.whoFrom(context.WithoutCancel(ctx), port, connectMost)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.connections[port] = c
	})
}

func (l *load) whoFrom(ctx context.Context, port uint16, most time.Duration) (c connection) {
	ctx, over := context.WithTimeout(ctx, most)
	defer over()
	begun := time.Now()
	c.seen, c.err = l.from.Who(ctx, at(netip.Addr{}, port), l.who)
	c.took = time.Since(begun)
	return c
}

// begins has a UDP flow and a TCP connection begin with the next change. The flow's port
// stays in use, so that no later flow gets answers that are still on their way.
func (l *load) begins(ctx context.Context, name string, change <-chan transaction) {
	l.w.t.Helper()
	c := assert.Must(l.from.Dial(ctx, "udp", netip.AddrPort{}, l.udp))(l.w.t)
	l.w.t.Cleanup(func() { assert.NoError(l.w.t, c.Close()) })
	l.wg.Go(func() {
		var err error
		select {
		case <-change:
			l.connect(ctx)
			err = l.untilAnswered(c, name, patience)
		case <-time.After(patience):
			err = errors.New("there was no change")
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.flows[name] = err
	})
}

// untilAnswered sends requests until there is an answer.
func (l *load) untilAnswered(c net.Conn, name string, most time.Duration) error {
	end, answer := time.Now().Add(most), make([]byte, 100)
	for time.Now().Before(end) {
		if _, err := io.WriteString(c, name); err != nil {
			return err
		}
		if err := c.SetReadDeadline(time.Now().Add(requestPace)); err != nil {
			return err
		}
		n, err := c.Read(answer)
		switch {
		case err == nil && string(answer[:n]) == name:
			return nil
		case err == nil:
			return fmt.Errorf("%q is the answer to %q", answer[:n], name)
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
	}
	return fmt.Errorf("no answer in %s: %w", most, os.ErrDeadlineExceeded)
}

// stream sends bytes over one connection. All of them must arrive.
func (l *load) stream(ctx context.Context) {
	l.w.t.Helper()
	seed := rand.Uint64()
	listener := assert.Must(l.w.Server.Listen(at(l.w.V4.Server, 0)))(l.w.t)
	l.wg.Go(func() {
		defer listener.Close()
		if err := verify(listener, seed); err != nil {
			l.fault("the stream, at the far end: %v", err)
		}
	})
	c := assert.Must(l.from.Dial(ctx, "tcp", netip.AddrPort{}, listener.Addr().(*net.TCPAddr).AddrPort()))(l.w.t)
	l.wg.Go(func() {
		defer c.Close()
		if err := l.pour(ctx, c.(*net.TCPConn), seed); err != nil {
			l.fault("the stream: %v", err)
		}
	})
}

func (l *load) pour(ctx context.Context, c *net.TCPConn, seed uint64) error {
	from, piece, total := pattern(seed), make([]byte, pieceSize), 0
	pace := time.NewTicker(piecePace)
	defer pace.Stop()
	for ctx.Err() == nil {
		_, _ = from.Read(piece) // never fails
		_ = c.SetWriteDeadline(time.Now().Add(patience))
		if _, err := c.Write(piece); err != nil {
			return fmt.Errorf("after %d bytes: %w", total, err)
		}
		total += len(piece)
		select {
		case <-ctx.Done():
		case <-pace.C:
		}
	}
	var arrived int
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if err := c.CloseWrite(); err != nil {
		return err
	}
	if _, err := fmt.Fscan(c, &arrived); err != nil {
		return fmt.Errorf("the far end does not report how much arrived: %w", err)
	}
	if arrived != total {
		return fmt.Errorf("%d bytes arrived, %d were sent", arrived, total)
	}
	info, err := tcpInfo(c)
	if err != nil {
		return err
	}
	l.add("bytes of the stream", total)
	l.add("its segments that were sent again", int(info.Total_retrans))
	return nil
}

// end waits until all connections have ended, and returns the faults.
func (l *load) end() []string {
	l.wg.Wait()
	if err := l.far.fault(); err != nil {
		l.fault("%v", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.faults
}

// begunExposed returns the connections whose first segments arrived with the container's
// address: they began without rules.
func (l *load) begunExposed() map[uint16]bool {
	out := map[uint16]bool{}
	for _, s := range l.far.exposed() {
		if p := s.packet; p.Proto == unix.IPPROTO_TCP && p.TCPFlags == nstest.SYN && p.DstPort == l.who.Port() {
			out[p.SrcPort] = true
		}
	}
	return out
}

// failed returns the connections that failed or had another source than the egress address.
func (l *load) failed(egress netip.Addr) (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for port, c := range l.connections {
		switch {
		case c.err != nil:
			out = append(out, fmt.Sprintf("the connection from port %d, after %s: %v", port, c.took, c.err))
		case c.seen.Addr() != egress:
			out = append(out, fmt.Sprintf("the server sees the connection from port %d come from %s", port, c.seen))
		}
	}
	return out
}

// begunWithChanges returns how many flows that began with a change arrived with the
// container's address at first, and which were not answered or do not continue with the
// egress address.
func (l *load) begunWithChanges(egress netip.Addr) (exposed int, faults []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, err := range l.flows {
		seen := l.far.seenAs(name)
		switch {
		case err != nil:
			faults = append(faults, fmt.Sprintf("%s: %v", name, err))
		case len(seen) == 0 || seen[len(seen)-1].Addr() != egress:
			faults = append(faults, fmt.Sprintf("%s is answered, and was seen from %v", name, seen))
		case slices.ContainsFunc(seen, func(a netip.AddrPort) bool { return a.Addr() != egress }):
			exposed++
		}
	}
	return exposed, faults
}

// String summarizes the traffic.
func (l *load) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []string{fmt.Sprintf("connections: %d", len(l.connections))}
	for name, n := range l.sent {
		out = append(out, fmt.Sprintf("%s: %d", name, n))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
