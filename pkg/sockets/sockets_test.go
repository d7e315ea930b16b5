package sockets

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/netlink/netlinktest"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestList: sockets that receive from any peer are listed with their addresses, others are
// not.
func TestList(t *testing.T) {
	n := newNode(t)
	any6, loopback := netip.IPv6Unspecified(), netip.MustParseAddr("127.0.0.1")
	tcp := opened(t, n.Listen, netip.AddrPortFrom(any6, 700))
	opened(t, n.Listen, netip.AddrPortFrom(any6, 701))
	opened(t, n.ListenUDP, netip.AddrPortFrom(loopback, 702))
	opened(t, n.ListenUDP, netip.AddrPortFrom(any6, 703))
	// A connected socket of each protocol receives only from its peer.
	for _, network := range []string{"tcp", "udp"} {
		c, err := n.Dial(t.Context(), network, netip.AddrPort{}, netip.AddrPortFrom(loopback, tcp.Addr().(*net.TCPAddr).AddrPort().Port()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	var got []Socket
	if err := n.Do(func() (err error) {
		got, err = List()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	want := []Socket{
		{unix.IPPROTO_TCP, netip.AddrPortFrom(any6, 700)},
		{unix.IPPROTO_TCP, netip.AddrPortFrom(any6, 701)},
		{unix.IPPROTO_UDP, netip.AddrPortFrom(loopback, 702)},
		{unix.IPPROTO_UDP, netip.AddrPortFrom(any6, 703)},
	}
	slices.SortFunc(got, func(a, b Socket) int { return int(a.Port()) - int(b.Port()) })
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func newNode(t *testing.T) *nstest.NS {
	t.Helper()
	n, err := nstest.New(t).Namespace("node")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func opened[T interface{ Close() error }](t *testing.T, open func(netip.AddrPort) (T, error), at netip.AddrPort) T {
	t.Helper()
	s, err := open(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestServicesOf(t *testing.T) {
	ephemeral := []masq.PortRange{{First: 32768, Last: 60999}}
	at := func(protocol uint8, s string) Socket { return Socket{protocol, netip.MustParseAddrPort(s)} }
	const tcp, udp = unix.IPPROTO_TCP, unix.IPPROTO_UDP
	for _, c := range []struct {
		name   string
		all    []Socket
		chosen []masq.PortRange
		want   []masq.PortRange
	}{
		{"a loopback address", []Socket{at(tcp, "127.0.0.1:9468"), at(udp, "[::1]:323")}, nil, nil},
		{"a TCP port, wherever it is", []Socket{at(tcp, "0.0.0.0:22"), at(tcp, "192.0.2.1:40000")}, nil, []masq.PortRange{{First: 22, Last: 22}, {First: 40000, Last: 40000}}},
		{"a UDP port of a service", []Socket{at(udp, "192.0.2.1:500")}, nil, []masq.PortRange{{First: 500, Last: 500}}},
		{"a UDP port of a client", []Socket{at(udp, "0.0.0.0:40000"), at(udp, "192.0.2.1:40001")}, nil, nil},
		{"a UDP port of a client among toPorts", []Socket{at(udp, "0.0.0.0:40000")}, []masq.PortRange{{First: 40000, Last: 40009}}, []masq.PortRange{{First: 40000, Last: 40000}}},
		{"WireGuard", []Socket{at(udp, "0.0.0.0:51820"), at(udp, "[::]:51820")}, nil, []masq.PortRange{{First: 51820, Last: 51820}, {First: 51820, Last: 51820}}},
		{"not bound", []Socket{at(udp, "0.0.0.0:0")}, nil, nil},
	} {
		if got := services(c.all, ephemeral, c.chosen); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestPortRanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sysctl")
	if got, err := portRanges(path); err != nil || got != nil {
		t.Errorf("no file: %v, %v", got, err)
	}
	for text, want := range map[string][]masq.PortRange{
		"\n": nil, "32768\t60999\n": {{First: 32768, Last: 60999}}, "8080,30000-32767\n": {{First: 8080, Last: 8080}, {First: 30000, Last: 32767}},
		"0\n": nil, "0-5\n": {{First: 1, Last: 5}}, "65535\n": {{First: 65535, Last: 65535}}, "7-3\n": nil, "x,70000\n": nil,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := portRanges(path); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
}

// TestIncompleteList: a list that changed while it was read is read again, up to ten
// times. An errno at its end and a cut socket are errors. If the kernel cannot list
// sockets of a protocol, there are none.
func TestIncompleteList(t *testing.T) {
	socket := make([]byte, messageLen)
	socket[0] = unix.AF_INET
	binary.BigEndian.PutUint16(socket[4:], 22)
	once := 0
	for name, c := range map[string]struct {
		answer func(*netlinktest.Request)
		want   error
		found  int
	}{
		"interrupted once": {func(r *netlinktest.Request) {
			flags := uint16(unix.NLM_F_MULTI)
			if once++; once == 1 {
				flags |= unix.NLM_F_DUMP_INTR
			}
			r.Reply(diagByFamily, flags, socket)
			r.Done(0)
		}, nil, 4},
		"interrupted always": {func(r *netlinktest.Request) {
			r.Reply(diagByFamily, unix.NLM_F_MULTI|unix.NLM_F_DUMP_INTR, socket)
			r.Done(0)
		}, netlink.ErrInterrupted, 0},
		"errno at the end": {func(r *netlinktest.Request) {
			r.Reply(diagByFamily, unix.NLM_F_MULTI, socket)
			r.Done(unix.EPERM)
		}, unix.EPERM, 0},
		"cut": {func(r *netlinktest.Request) {
			r.Reply(diagByFamily, unix.NLM_F_MULTI, socket[:messageLen-1])
			r.Done(0)
		}, netlink.ErrMalformed, 0},
		"no such protocol": {func(r *netlinktest.Request) { r.Errno(unix.ENOENT) }, nil, 0},
	} {
		got, err := list(netlink.NewConn(netlinktest.New(c.answer), netlink.DumpBuffer))
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || len(got) != c.found {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
