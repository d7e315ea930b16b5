package conntrack

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// stateful is a firewall that lets the node's uplink only continue flows.
const stateful = `
table inet firewall {
	chain forward {
		type filter hook forward priority filter; policy drop;
		iifname "uplink" ct state new drop
		ct state established accept
		iifname "pod" accept
	}
}`

// created is a flow from the container, whose port is not the egress port.
func created(proto uint8, p nstest.Plan) Entry {
	pod := podAddresses[0].Addr()
	if p.Server.Is6() {
		pod = podAddresses[1].Addr()
	}
	return Entry{
		Proto: proto, Src: netip.AddrPortFrom(pod, 5000), Dst: netip.AddrPortFrom(p.Server, 6000),
		NAT: netip.AddrPortFrom(p.Node, 40000), Timeout: 10 * time.Minute,
	}
}

// otherPort has the address of a and the port after its port.
func otherPort(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), a.Port()+1) }

func eachCreated(t *testing.T, f func(t *testing.T, l *lab, e Entry)) {
	for i, family := range []string{"IPv4", "IPv6"} {
		for _, proto := range []uint8{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
			t.Run(family+" "+protoName(proto), func(t *testing.T) {
				l := newLab(t)
				l.install(t, stateful)
				// The flow of one packet, which some tests look up, must not end meanwhile.
				assert.NoError(t, l.Node.Sysctl("net.netfilter.nf_conntrack_udp_timeout", "10000"))
				f(t, l, created(proto, l.Plans()[i]))
			})
		}
	}
}

// peer is one end of a UDP or TCP connection.
type peer struct {
	t    *testing.T
	conn net.Conn
}

func (p peer) send(text string) {
	p.t.Helper()
	assert.Must(p.conn.Write([]byte(text)))(p.t)
}

func (p peer) receive(want string) {
	p.t.Helper()
	b := make([]byte, 100)
	assert.NoError(p.t, p.conn.SetReadDeadline(time.Now().Add(5*time.Minute)))
	if n := assert.Must(p.conn.Read(b))(p.t); string(b[:n]) != want {
		p.t.Fatalf("received %q, not %q", b[:n], want)
	}
}

// reach connects from one end to the address of the other end that it knows, and sends a
// text. It returns both ends.
func reach(t *testing.T, proto uint8, from *nstest.NS, local, to netip.AddrPort, at *nstest.NS, listen, seen netip.AddrPort) (near, far peer) {
	t.Helper()
	const text = "first"
	var source net.Addr
	if proto == unix.IPPROTO_TCP {
		l := assert.Must(at.Listen(listen))(t)
		defer func() { assert.NoError(t, l.Close()) }()
		near = peer{t, assert.Must(from.Dial(within(t), "tcp", local, to))(t)}
		far = peer{t, assert.Must(l.Accept())(t)}
		source = far.conn.RemoteAddr()
		near.send(text)
		far.receive(text)
	} else {
		l := assert.Must(at.ListenUDP(listen))(t)
		near = peer{t, assert.Must(from.DialUDP(local, to))(t)}
		near.send(text)
		b := make([]byte, 100)
		assert.NoError(t, l.SetReadDeadline(time.Now().Add(5*time.Minute)))
		n, addr, err := l.ReadFrom(b)
		if err != nil || string(b[:n]) != text {
			t.Fatalf("received %q, %v", b[:n], err)
		}
		source = addr
		assert.NoError(t, l.Close())
		far = peer{t, assert.Must(at.DialUDP(listen, seen))(t)}
	}
	t.Cleanup(func() { _, _ = near.conn.Close(), far.conn.Close() })
	if source.String() != seen.String() {
		t.Errorf("the first packet came from %s, not %s", source, seen)
	}
	return near, far
}

// refused sends to an address and port of the node, and requires its refusal.
func refused(t *testing.T, proto uint8, from *nstest.NS, local, to netip.AddrPort) {
	t.Helper()
	network := map[uint8]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp"}[proto]
	c, err := from.Dial(within(t), network, local, to)
	if err == nil {
		defer func() { _ = c.Close() }()
		_, _ = c.Write([]byte("nothing listens"))
		assert.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Minute)))
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("%s to %s: %v", local, to, err)
	}
}

// The first packet of the server reaches the container through a firewall that accepts no
// new connection. Without the entry, or from another port, it does not.
func TestCreatedFlowServerFirst(t *testing.T) {
	eachCreated(t, func(t *testing.T, l *lab, e Entry) {
		refused(t, e.Proto, l.Server, e.Dst, e.NAT)
		if e.Proto == unix.IPPROTO_UDP {
			// The refused packet has made a flow from the server to the node.
			if err := l.Create(e); !errors.Is(err, ErrExists) {
				t.Errorf("a flow of the server: %v", err)
			}
			assert.NoError(t, l.Delete(e.Reply(), 0))
		}
		assert.NoError(t, l.Create(e))
		refused(t, e.Proto, l.Server, otherPort(e.Dst), e.NAT)
		refused(t, e.Proto, l.Server, e.Dst, otherPort(e.NAT))
		server, pod := reach(t, e.Proto, l.Server, e.Dst, e.NAT, l.pod, e.Src, e.Dst)
		pod.send("answer")
		server.receive("answer")
		server.send("more")
		pod.receive("more")
	})
}

// The first packet of the container leaves with the egress port. Without the entry, it
// leaves with another.
func TestCreatedFlowClientFirst(t *testing.T) {
	eachCreated(t, func(t *testing.T, l *lab, e Entry) {
		other, seen := otherPort(e.Dst), netip.AddrPortFrom(e.NAT.Addr(), e.Src.Port())
		reach(t, e.Proto, l.pod, e.Src, other, l.Server, other, seen)
		assert.NoError(t, l.Create(e))
		pod, server := reach(t, e.Proto, l.pod, e.Src, e.Dst, l.Server, e.Dst, e.NAT)
		server.send("answer")
		pod.receive("answer")
		f := assert.Must(l.Get(e.Original()))(t)
		if f.Reply != e.Reply() || f.Egress() != e.NAT || !f.Translated() || f.Status&DstNAT != 0 || f.OriginalCounters.Packets == 0 || f.Start == 0 {
			t.Errorf("%+v", f)
		}
	})
}

// An entry is made only if neither of its tuples is in use. The flow that has it stays.
func TestCreateExists(t *testing.T) {
	eachCreated(t, func(t *testing.T, l *lab, e Entry) {
		// A flow that the container itself began.
		reach(t, e.Proto, l.pod, e.Src, e.Dst, l.Server, e.Dst, netip.AddrPortFrom(e.NAT.Addr(), e.Src.Port()))
		before := assert.Must(l.Get(e.Original()))(t)
		if err := l.Create(e); !errors.Is(err, ErrExists) {
			t.Errorf("a container's flow: %v", err)
		}
		other := e
		other.Src = netip.AddrPortFrom(e.Src.Addr().Next(), e.Src.Port())
		other.NAT = netip.AddrPortFrom(e.NAT.Addr(), e.Src.Port())
		if err := l.Create(other); !errors.Is(err, ErrExists) {
			t.Errorf("the reply tuple of a container's flow: %v", err)
		}
		if _, err := l.Get(other.Original()); !errors.Is(err, ErrNotFound) {
			t.Errorf("made: %v", err)
		}
		if after := assert.Must(l.Get(e.Original()))(t); after.ID != before.ID || after.Reply != before.Reply {
			t.Errorf("%+v was changed to %+v", before, after)
		}
		assert.NoError(t, l.Delete(e.Original(), before.ID))
		assert.NoError(t, l.Create(e))
		if err := l.Create(e); !errors.Is(err, ErrExists) {
			t.Errorf("created twice: %v", err)
		}
		other.NAT = e.NAT
		if err := l.Create(other); !errors.Is(err, ErrExists) {
			t.Errorf("two containers with one egress port: %v", err)
		}
		other.NAT = otherPort(e.NAT)
		assert.NoError(t, l.Create(other))
	})
}

// Packets replace the timeout of an entry by that of its protocol, and SetTimeout replaces
// it by any other. An entry without packets ends.
func TestCreatedFlowTimeout(t *testing.T) {
	l := newLab(t)
	const timeout, stream = 10_000, 20_000 // seconds
	assert.NoError(t, l.Node.Sysctl("net.netfilter.nf_conntrack_udp_timeout", fmt.Sprint(timeout)))
	assert.NoError(t, l.Node.Sysctl("net.netfilter.nf_conntrack_udp_timeout_stream", fmt.Sprint(stream)))
	left := func(e Entry) int { return int(assert.Must(l.Get(e.Original()))(t).Timeout / time.Second) }
	for _, p := range l.Plans() {
		e := created(unix.IPPROTO_UDP, p)
		e.Timeout = 400*time.Second + 1
		assert.NoError(t, l.Create(e))
		if n := left(e); n < 1 || n > 401 {
			t.Errorf("%d s at first", n)
		}
		server, pod := reach(t, e.Proto, l.Server, e.Dst, e.NAT, l.pod, e.Src, e.Dst)
		if n := left(e); n <= 401 || n > timeout {
			t.Errorf("%d s after a packet of the server", n)
		}
		for range 2 {
			server.send("more")
			pod.receive("more")
		}
		if n := left(e); n <= timeout || n > stream {
			t.Errorf("%d s after several packets of the server", n)
		}
		for i, by := range []Tuple{e.Original(), e.Reply()} {
			longer := (2 + i) * stream
			assert.NoError(t, l.SetTimeout(by, time.Duration(longer)*time.Second))
			if n := left(e); n <= longer-stream || n > longer {
				t.Errorf("%d s after it was set to %d s by %s", n, longer, by)
			}
		}
		assert.NoError(t, l.SetTimeout(e.Original(), time.Nanosecond))
		assert.Until(t, "the flow has ended", func() bool {
			_, err := l.Get(e.Original())
			return errors.Is(err, ErrNotFound)
		})
		if err := l.SetTimeout(e.Original(), time.Second); !errors.Is(err, ErrNotFound) {
			t.Errorf("a flow that has ended: %v", err)
		}
		refused(t, e.Proto, l.Server, otherPort(e.Dst), e.NAT)
	}
}

// An invalid entry makes no flow.
func TestCreateInvalid(t *testing.T) {
	tb := newTable(t)
	valid := Entry{
		Proto: unix.IPPROTO_UDP, Src: netip.MustParseAddrPort("10.88.0.2:5000"), Dst: netip.MustParseAddrPort("192.0.2.1:6000"),
		NAT: netip.MustParseAddrPort("203.0.113.1:40000"), Timeout: time.Second,
	}
	for what, change := range map[string]func(*Entry){
		"no source":           func(e *Entry) { e.Src = netip.AddrPort{} },
		"no destination":      func(e *Entry) { e.Dst = netip.AddrPort{} },
		"no egress":           func(e *Entry) { e.NAT = netip.AddrPort{} },
		"port 0":              func(e *Entry) { e.Dst = netip.AddrPortFrom(e.Dst.Addr(), 0) },
		"egress port 0":       func(e *Entry) { e.NAT = netip.AddrPortFrom(e.NAT.Addr(), 0) },
		"unspecified":         func(e *Entry) { e.NAT = netip.MustParseAddrPort("0.0.0.0:40000") },
		"another family":      func(e *Entry) { e.NAT = netip.MustParseAddrPort("[2001:db8::1]:40000") },
		"IPv4-mapped":         func(e *Entry) { e.Dst = netip.MustParseAddrPort("[::ffff:192.0.2.1]:6000") },
		"a zone":              func(e *Entry) { e.Dst = netip.MustParseAddrPort("[fe80::1%eth0]:6000") },
		"another protocol":    func(e *Entry) { e.Proto = unix.IPPROTO_SCTP },
		"no protocol":         func(e *Entry) { e.Proto = 0 },
		"no timeout":          func(e *Entry) { e.Timeout = 0 },
		"a negative timeout":  func(e *Entry) { e.Timeout = -time.Second },
		"nothing but numbers": func(e *Entry) { *e = Entry{Proto: unix.IPPROTO_TCP, Timeout: time.Second} },
	} {
		e := valid
		change(&e)
		if tb.Create(e) == nil {
			t.Errorf("%s: created", what)
		}
	}
	if all := tb.collect(Filter{}); len(all) != 0 {
		t.Errorf("created %v", keys(all))
	}
	for _, d := range []time.Duration{0, -time.Second} {
		if tb.SetTimeout(valid.Original(), d) == nil {
			t.Errorf("a timeout of %s was set", d)
		}
	}
	if tb.SetTimeout(Tuple{}, time.Second) == nil {
		t.Error("the timeout of half a tuple was set")
	}
	valid.Timeout = 1 << 62
	assert.NoError(t, tb.Create(valid))
	if f := assert.Must(tb.Get(valid.Reply()))(t); f.Timeout < 24*time.Hour {
		t.Errorf("%+v", f)
	}
}
