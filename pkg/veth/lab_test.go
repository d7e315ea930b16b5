package veth

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// space is a network namespace without a name. The kernel removes it with its last socket,
// interface pair and file, so nothing stays after the tests.
type space struct {
	namespace
	*netlink.Handle
	t testing.TB
}

func newSpace(t testing.TB) *space {
	t.Helper()
	fd := -1
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		var err error
		fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("make a network namespace (this test needs root): %v", err)
	}
	h, err := netlink.NewHandleAt(netns.NsHandle(fd), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	s := &space{namespace{fd, fmt.Sprintf("/proc/self/fd/%d", fd)}, h, t}
	t.Cleanup(func() {
		h.Close()
		_ = unix.Close(fd)
	})
	// A fresh namespace may inherit it (net.core.devconf_inherit_init_net).
	s.sysctl("net/ipv4/ip_forward", "0")
	s.up("lo")
	return s
}

func (s *space) do(f func() error) {
	s.t.Helper()
	if err := s.within(f); err != nil {
		s.t.Fatal(err)
	}
}

func (s *space) sysctl(path, value string) {
	s.t.Helper()
	s.do(func() error { return os.WriteFile("/proc/sys/"+path, []byte(value), 0) })
}

func (s *space) readSysctl(path string) (value string) {
	s.t.Helper()
	s.do(func() error {
		b, err := os.ReadFile("/proc/sys/" + path)
		value = strings.TrimSpace(string(b))
		return err
	})
	return value
}

// readSys reads a file of /sys/class/net, of which each namespace has its own.
func (s *space) readSys(path string) string {
	s.t.Helper()
	dir := s.t.TempDir()
	var value []byte
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: its mounts end with the thread
		done <- func() (err error) {
			if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
				return err
			}
			if err := unix.Setns(s.fd, unix.CLONE_NEWNET); err != nil {
				return err
			}
			if err := unix.Mount("sysfs", dir, "sysfs", unix.MS_RDONLY, ""); err != nil {
				return err
			}
			value, err = os.ReadFile(dir + "/class/net/" + path)
			return err
		}()
	}()
	s.must(<-done)
	return strings.TrimSpace(string(value))
}

func (s *space) link(name string) netlink.Link {
	s.t.Helper()
	l, err := s.LinkByName(name)
	if err != nil {
		s.t.Fatalf("interface %s: %v", name, err)
	}
	return l
}

func (s *space) up(name string) {
	s.t.Helper()
	s.must(s.LinkSetUp(s.link(name)))
}

func (s *space) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *space) addr(name, prefix string) {
	s.t.Helper()
	a, err := netlink.ParseAddr(prefix)
	s.must(err)
	if a.IP.To4() == nil {
		a.Flags = unix.IFA_F_NODAD
	}
	s.must(s.AddrAdd(s.link(name), a))
	s.await("address "+prefix, func() bool {
		r, err := s.RouteGet(a.IP)
		return err == nil && len(r) > 0 && r[0].Type == unix.RTN_LOCAL
	})
}

// await waits for a task of the kernel's workers.
func (s *space) await(what string, so func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: not after a minute", what)
		}
	}
}

func (s *space) route(dst, gw string) {
	s.t.Helper()
	s.must(s.RouteAdd(routeOf(dst, gw)))
}

func routeOf(dst, gw string) *netlink.Route {
	_, n, err := net.ParseCIDR(dst)
	if err != nil {
		panic(err)
	}
	return &netlink.Route{Dst: n, Gw: net.ParseIP(gw)}
}

// links counts the interfaces, lo among them.
func (s *space) links() int {
	s.t.Helper()
	l, err := s.LinkList()
	s.must(err)
	return len(l)
}

func (s *space) open() *Conn {
	s.t.Helper()
	var w *Conn
	s.do(func() (err error) {
		w, err = Open()
		return err
	})
	s.t.Cleanup(func() { _ = w.Close() })
	return w
}

// cable connects two namespaces by a veth pair.
func cable(a *space, nameA string, b *space, nameB string) {
	a.t.Helper()
	a.must(a.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: nameA}, PeerName: nameB, PeerNamespace: netlink.NsFd(b.fd),
	}))
	a.up(nameA)
	b.up(nameB)
	a.await(nameA, func() bool { return a.link(nameA).Attrs().OperState == netlink.OperUp })
	b.await(nameB, func() bool { return b.link(nameB).Attrs().OperState == netlink.OperUp })
}

// lab is container - node - server. The server has a route back to the
// containers, and echoes UDP.
type lab struct {
	node, server *space
	conn         *Conn
}

const (
	server4 = "10.0.0.2"
	server6 = "fd00:10::2"
	echo    = 7777
)

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{node: newSpace(t), server: newSpace(t)}
	cable(l.node, "up0", l.server, "srv0")
	l.node.addr("up0", "10.0.0.1/24")
	l.node.addr("up0", "fd00:10::1/64")
	l.server.addr("srv0", server4+"/24")
	l.server.addr("srv0", server6+"/64")
	l.node.route("0.0.0.0/0", server4)
	l.node.route("::/0", server6)
	l.server.route("10.88.0.0/16", "10.0.0.1")
	l.server.route("fd00:88::/64", "fd00:10::1")
	l.server.serveEcho(server4, server6)
	// So that the first packet of a test is not delayed by the lab.
	for _, to := range []string{server4, server6} {
		l.node.await("the lab's way to "+to, func() bool { return l.node.ask(to) == nil })
	}
	l.conn = l.node.open()
	return l
}

// serveEcho answers UDP packets, on each of the addresses, with the source address of the
// packet.
func (s *space) serveEcho(on ...string) {
	s.t.Helper()
	for _, a := range on {
		var c *net.UDPConn
		s.do(func() (err error) {
			c, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(a), Port: echo})
			return err
		})
		s.t.Cleanup(func() { _ = c.Close() })
		go func() {
			b := make([]byte, 2000)
			for {
				_, from, err := c.ReadFromUDP(b)
				if err != nil {
					return
				}
				_, _ = c.WriteToUDP([]byte(from.String()), from)
			}
		}()
	}
}

// ask sends one packet to the echo server at an address, and returns an error without an
// answer. It does not retry.
func (s *space) ask(to string) error {
	s.t.Helper()
	var c *net.UDPConn
	s.do(func() (err error) {
		c, err = net.DialUDP("udp", nil, &net.UDPAddr{IP: net.ParseIP(to), Port: echo})
		if errors.Is(err, unix.ENETUNREACH) {
			err = nil
		}
		return err
	})
	if c == nil {
		return unix.ENETUNREACH
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("?")); err != nil {
		return err
	}
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err != nil {
		return err
	}
	if seen, mine := string(b[:n]), c.LocalAddr().String(); seen != mine {
		return fmt.Errorf("%s received the packet from %s instead of %s", to, seen, mine)
	}
	return nil
}

// pair returns the pair of the nth container.
func pair(s *space, n int, families ...string) Pair {
	p := Pair{
		NetNS: s.name, Interface: "eth0", MTU: 1500,
		HostName: fmt.Sprintf("veth%011x", n), Identity: fmt.Sprintf("net/container%d/eth0", n),
	}
	for _, f := range families {
		switch f {
		case "4":
			p.Addresses = append(p.Addresses, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 88, byte(n >> 8), byte(n)}), 16))
		case "6":
			p.Addresses = append(p.Addresses, netip.MustParsePrefix(fmt.Sprintf("fd00:88::%x/64", n)))
		}
	}
	return p
}

func mustAdd(t testing.TB, w *Conn, p Pair) Link {
	t.Helper()
	l, err := w.Add(p)
	if err != nil {
		t.Fatalf("Add: %v", err)
	}
	return l
}

// differences returns the differences of both sides of a link, as text.
func differences(t testing.TB, w *Conn, p Pair) (out []string) {
	t.Helper()
	node, err := w.Compare([]Pair{p})
	if err != nil {
		t.Fatalf("Compare: %v", err)
	}
	container, err := w.CompareContainer(p)
	if err != nil {
		t.Fatalf("CompareContainer: %v", err)
	}
	for _, d := range append(node, container...) {
		out = append(out, d.String())
	}
	return out
}
