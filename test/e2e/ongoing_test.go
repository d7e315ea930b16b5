package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

const (
	// pingPace is the time between pings of a container.
	pingPace = 10 * time.Millisecond
	// A stream sends pieceSize bytes every piecePace.
	piecePace = 5 * time.Millisecond
	pieceSize = 4 << 10
	// dialPace is the time between new connections of a container.
	dialPace = 40 * time.Millisecond
)

// ongoing is continuous traffic between containers and the server, with the far end's view.
type ongoing struct {
	w    *world
	own  map[netip.Addr]bool // addresses of containers
	out  *nstest.Capture     // packets that arrive with one of them
	ends context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex
	seen   map[string]map[netip.AddrPort]int // by flow, the sources that the server saw
	ports  map[uint16]string                 // ports of the streams at the server
	sent   map[string]int                    // by flow: pings, bytes, connections
	faults []string
}

// begin has each container ping, send a stream and open connections until end. The
// connections must arrive with one of the egress addresses.
func (w *world) begin(egress []netip.Addr, pods ...*pod) *ongoing {
	w.t.Helper()
	o := &ongoing{
		w: w, own: map[netip.Addr]bool{}, seen: map[string]map[netip.AddrPort]int{},
		ports: map[uint16]string{}, sent: map[string]int{},
	}
	for _, p := range pods {
		for _, ip := range p.result.IPs {
			a, _ := netip.AddrFromSlice(ip.Address.IP)
			o.own[a.Unmap()] = true
		}
	}
	o.out = assert.Must(w.Server.Capture("eth0", o.sees))(w.t)
	ctx, cancel := context.WithCancel(w.t.Context())
	o.ends = cancel
	w.t.Cleanup(cancel)
	who := assert.Must(w.Server.ServeTCP(at(w.V4.Server, 0)))(w.t)
	for i, p := range pods {
		o.ping(ctx, p, w.V4, uint16(1000+i))
		o.stream(ctx, p, w.V4, rand.Uint64())
		o.dial(ctx, p, who.Addr(), egress)
		if len(p.result.IPs) > 1 {
			o.ping(ctx, p, w.V6, uint16(2000+i))
		}
	}
	return o
}

// end ends the traffic, waits for the last answers, and returns the faults.
func (o *ongoing) end() []string {
	o.ends()
	o.wg.Wait()
	exposed, lost := o.out.Packets(), o.out.Lost()
	_ = o.out.Close() // nothing was written
	o.mu.Lock()
	defer o.mu.Unlock()
	for name, sources := range o.seen {
		if len(sources) != 1 {
			o.faults = append(o.faults, fmt.Sprintf("%s was seen with %d sources: %v", name, len(sources), sources))
		}
	}
	if len(exposed) > 0 {
		o.faults = append(o.faults, fmt.Sprintf("%d packets arrived with the address of a container, as %v", len(exposed), exposed[0]))
	}
	if lost > 0 {
		o.faults = append(o.faults, fmt.Sprintf("the capture lost %d packets", lost))
	}
	return o.faults
}

// String summarizes what was sent, and with which sources it arrived.
func (o *ongoing) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []string
	for _, name := range slices.Sorted(maps.Keys(o.sent)) {
		line := fmt.Sprintf("%s: %d", name, o.sent[name])
		for source, n := range o.seen[name] {
			line += fmt.Sprintf(", %d packets from %s", n, source)
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// count returns how many units of a kind of traffic every container has sent at least.
func (o *ongoing) count(kind string) (least int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	least = -1
	for name, n := range o.sent {
		if strings.HasPrefix(name, kind) && (least < 0 || n < least) {
			least = n
		}
	}
	return max(least, 0)
}

func (o *ongoing) fault(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.faults = append(o.faults, fmt.Sprintf(format, args...))
}

func (o *ongoing) add(name string, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent[name] += n
}

// sees keeps packets with a container's address, and records the flow of the others.
func (o *ongoing) sees(p nstest.Packet) bool {
	if p.Outgoing || neighbours(p) {
		return false
	}
	if o.own[p.Src] {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	name, id := o.ports[p.DstPort], p.SrcPort
	if isPing(p) {
		name, id = string(p.Payload), uint16(p.ICMPRest>>16)
	}
	if name != "" {
		if o.seen[name] == nil {
			o.seen[name] = map[netip.AddrPort]int{}
		}
		o.seen[name][at(p.Src, id)]++
	}
	return false
}

// ping sends one flow of echo requests. Each must be answered.
func (o *ongoing) ping(ctx context.Context, p *pod, plan nstest.Plan, id uint16) {
	o.w.t.Helper()
	name := fmt.Sprintf("ping of %s to %s", p.runtime.ContainerID, plan.Server)
	own, network, header := p.addr(plan.Server), "ip4:icmp", 20
	if own.Is6() {
		network, header = "ip6:ipv6-icmp", 40
	}
	var conn *net.IPConn
	assert.NoError(o.w.t, p.Do(func() (err error) {
		conn, err = net.ListenIP(network, &net.IPAddr{IP: own.AsSlice()})
		return err
	}))
	sent := make(chan int, 1)
	o.wg.Go(func() {
		pace := time.NewTicker(pingPace)
		defer pace.Stop()
		seq := 0
		defer func() { sent <- seq }()
		for ctx.Err() == nil {
			seq++
			request := nstest.EchoPacket(own, plan.Server, id, uint16(seq), []byte(name))[header:]
			if _, err := conn.WriteToIP(request, &net.IPAddr{IP: plan.Server.AsSlice()}); err != nil {
				o.fault("%s, request %d: %v", name, seq, err)
				return
			}
			o.add(name, 1)
			select {
			case <-ctx.Done():
			case <-pace.C:
			}
		}
	})
	o.wg.Go(func() {
		defer func() { _ = conn.Close() }()
		answers, want := map[uint16]bool{}, -1
		buf := make([]byte, 1500)
		var end time.Time
		for want < 0 || len(answers) < want {
			select {
			case want = <-sent:
				end = time.Now().Add(patience)
				continue
			default:
			}
			if want >= 0 && time.Now().After(end) {
				break
			}
			// So that the receiver learns of the end.
			_ = conn.SetReadDeadline(time.Now().Add(10 * pingPace))
			n, _, err := conn.ReadFromIP(buf)
			if err != nil || n < 8 {
				continue
			}
			reply := buf[0] == 0 && own.Is4() || buf[0] == 129 && own.Is6()
			if reply && binary.BigEndian.Uint16(buf[4:]) == id {
				answers[binary.BigEndian.Uint16(buf[6:])] = true
			}
		}
		if lost := want - len(answers); lost != 0 {
			o.fault("%s: %d of %d were not answered", name, lost, want)
		}
	})
}

// stream opens a connection and sends random bytes, which the far end compares.
func (o *ongoing) stream(ctx context.Context, p *pod, plan nstest.Plan, seed uint64) {
	o.w.t.Helper()
	name := fmt.Sprintf("stream of %s", p.runtime.ContainerID)
	l := assert.Must(o.w.Server.Listen(at(plan.Server, 0)))(o.w.t)
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	o.mu.Lock()
	o.ports[addr.Port()] = name
	o.mu.Unlock()
	o.wg.Go(func() {
		defer l.Close()
		if err := verify(l, seed); err != nil {
			o.fault("%s, at the far end: %v", name, err)
		}
	})
	one, over := context.WithTimeout(ctx, patience)
	defer over()
	conn := assert.Must(p.Dial(one, "tcp", netip.AddrPort{}, addr))(o.w.t)
	o.wg.Go(func() {
		defer conn.Close()
		if err := o.send(ctx, conn.(*net.TCPConn), name, seed); err != nil {
			o.fault("%s: %v", name, err)
		}
	})
}

// pattern returns the bytes of a stream.
func pattern(seed uint64) io.Reader {
	var key [32]byte
	binary.NativeEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

// verify accepts one connection, compares the received bytes, and sends their number back.
func verify(l *net.TCPListener, seed uint64) error {
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	want := pattern(seed)
	got, expected := make([]byte, 64<<10), make([]byte, 64<<10)
	total := 0
	for {
		n, err := conn.Read(got)
		_, _ = want.Read(expected[:n]) // never fails
		if !bytes.Equal(got[:n], expected[:n]) {
			return fmt.Errorf("the bytes after the first %d differ from the ones sent", total)
		}
		total += n
		if errors.Is(err, io.EOF) {
			_, err := fmt.Fprintln(conn, total)
			return err
		}
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", total, err)
		}
	}
}

func (o *ongoing) send(ctx context.Context, conn *net.TCPConn, name string, seed uint64) error {
	from, piece, total := pattern(seed), make([]byte, pieceSize), 0
	pace := time.NewTicker(piecePace)
	defer pace.Stop()
	for ctx.Err() == nil {
		_, _ = from.Read(piece)
		_ = conn.SetWriteDeadline(time.Now().Add(patience))
		if _, err := conn.Write(piece); err != nil {
			return fmt.Errorf("after %d bytes: %w", total, err)
		}
		total += len(piece)
		o.add(name, len(piece))
		select {
		case <-ctx.Done():
		case <-pace.C:
		}
	}
	var arrived int
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	if _, err := fmt.Fscan(conn, &arrived); err != nil {
		return fmt.Errorf("the far end does not report how much arrived: %w", err)
	}
	if arrived != total {
		return fmt.Errorf("%d bytes arrived, %d were sent", arrived, total)
	}
	info, err := tcpInfo(conn)
	if err != nil {
		return err
	}
	// Some of the kernel's retransmissions are unnecessary, which the receiver then reports
	// (RFC 2883).
	o.add("needlessly sent again in "+name, int(info.Dsack_dups))
	if lost := int(info.Total_retrans) - int(info.Dsack_dups); lost > 0 {
		return fmt.Errorf("%d segments were lost", lost)
	}
	return nil
}

func tcpInfo(conn *net.TCPConn) (info *unix.TCPInfo, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	failed := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	return info, errors.Join(failed, err)
}

// dial opens connections that must arrive with an egress address.
func (o *ongoing) dial(ctx context.Context, p *pod, server netip.AddrPort, egress []netip.Addr) {
	name := fmt.Sprintf("connections of %s", p.runtime.ContainerID)
	o.wg.Go(func() {
		pace := time.NewTicker(dialPace)
		defer pace.Stop()
		for ctx.Err() == nil {
			// A separate context, so that end does not interrupt the dial, which would count as a
			// fault.
			one, over := context.WithTimeout(context.WithoutCancel(ctx), patience)
			from, err := p.Who(one, netip.AddrPort{}, server)
			over()
			switch {
			case err != nil:
				o.fault("%s: %v", name, err)
			case !slices.Contains(egress, from.Addr()):
				o.fault("%s: the server sees %s", name, from)
			}
			o.add(name, 1)
			select {
			case <-ctx.Done():
			case <-pace.C:
			}
		}
	})
}

// wantNone fails the test for each fault.
func wantNone(t testing.TB, faults []string) {
	t.Helper()
	for i, f := range faults {
		if i == 20 {
			t.Errorf("and %d more", len(faults)-i)
			return
		}
		t.Error(f)
	}
}
