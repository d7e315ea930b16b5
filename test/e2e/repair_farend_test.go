package e2e

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// farEnd records packets that arrive at the server over IPv4, with the kernel's time of
// arrival. A busy machine reads the packets later.
type farEnd struct {
	own  map[netip.Addr]bool // addresses of containers
	udp  uint16              // port of the server; datagrams to it contain the name of their flow
	file *os.File
	done chan struct{}

	mu       sync.Mutex
	private  []sighting
	others   int // packets with another source than a container's address
	sources  map[string][]netip.AddrPort
	lost     int
	received error
}

// sighting is a packet that arrived with a container's address.
type sighting struct {
	at     time.Time
	packet nstest.Packet
}

// watchFarEnd records packets from its return to the end of the test. UDP packets to port
// named have the name of their flow as payload.
func (w *world) watchFarEnd(named uint16, pods ...*pod) *farEnd {
	w.t.Helper()
	e := &farEnd{own: map[netip.Addr]bool{}, udp: named, done: make(chan struct{}), sources: map[string][]netip.AddrPort{}}
	for _, p := range pods {
		e.own[p.addr(w.V4.Server)] = true
	}
	assert.NoError(w.t, w.Server.Do(func() error {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		e.file = os.NewFile(uintptr(fd), "the far end")
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			// A socket of one protocol does not receive the packets that the interface sends.
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16([]byte{unix.ETH_P_IP >> 8, unix.ETH_P_IP & 0xff}), Ifindex: link.Index}))
	}))
	raw := assert.Must(e.file.SyscallConn())(w.t)
	go e.run(raw)
	w.t.Cleanup(func() {
		assert.NoError(w.t, e.file.Close())
		<-e.done
	})
	return e
}

func (e *farEnd) run(raw syscall.RawConn) {
	defer close(e.done)
	buf, control := make([]byte, 2048), make([]byte, 128)
	// Returning false waits until there is more to read; Close ends that with an error.
	_ = raw.Read(func(fd uintptr) bool {
		for {
			n, c, _, _, err := unix.Recvmsg(int(fd), buf, control, 0)
			switch {
			case errors.Is(err, unix.EAGAIN):
				e.count(fd)
				return false
			case errors.Is(err, unix.EINTR):
				continue
			case err == nil:
				err = e.take(buf[:n], control[:c])
			}
			if err != nil {
				e.mu.Lock()
				e.received = err
				e.mu.Unlock()
				return true
			}
		}
	})
}

// count adds the packets that the kernel dropped.
func (e *farEnd) count(fd uintptr) {
	// The kernel resets the value at each reading.
	s, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil || s.Drops == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lost += int(s.Drops)
}

func (e *farEnd) take(b, control []byte) error {
	p, err := nstest.Decode(b)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.Proto == unix.IPPROTO_UDP && p.DstPort == e.udp {
		name := string(p.Payload)
		if seen := e.sources[name]; len(seen) == 0 || seen[len(seen)-1] != p.Source() {
			e.sources[name] = append(seen, p.Source())
		}
	}
	if !e.own[p.Src] {
		e.others++
		return nil
	}
	at, err := arrival(control)
	p.Payload = nil
	e.private = append(e.private, sighting{at, p})
	return err
}

// arrival returns the time in a control message of the kernel.
func arrival(control []byte) (time.Time, error) {
	header, data, _, err := unix.ParseOneSocketControlMessage(control)
	switch {
	case err != nil:
		return time.Time{}, err
	case header.Type != unix.SCM_TIMESTAMPNS || len(data) < 16:
		return time.Time{}, errors.New("a packet without a time of arrival")
	}
	sec := int64(binary.NativeEndian.Uint64(data))
	return time.Unix(sec, int64(binary.NativeEndian.Uint64(data[8:]))), nil
}

// arrived returns the number of packets with another source than a container's address.
func (e *farEnd) arrived() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.others
}

// exposed returns the packets with a container's address.
func (e *farEnd) exposed() []sighting {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clip(e.private)
}

// seenAs returns the successive sources of a flow's packets.
func (e *farEnd) seenAs(flow string) []netip.AddrPort {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sources[flow]
}

// fault reports why the recorded packets may be incomplete.
func (e *farEnd) fault() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lost > 0 {
		return errors.Join(e.received, errors.New("the far end has missed packets"))
	}
	return e.received
}
