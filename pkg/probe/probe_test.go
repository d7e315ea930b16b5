package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// servers starts a server of each protocol.
func (p *path) servers(a netip.Addr) map[Protocol]netip.AddrPort {
	at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }
	plain := assert.Must(p.server.ServeTCP(at(2000)))(p.t)
	return map[Protocol]netip.AddrPort{
		TLS:     assert.Must(p.server.ServeTLS(at(443)))(p.t).Addr(),
		HTTP:    assert.Must(p.server.ServeHTTP(at(80)))(p.t).Addr(),
		SSH:     assert.Must(p.server.ServeSSH(at(22)))(p.t).Addr(),
		Unknown: plain.Addr(),
	}
}

// TestHealthyPath probes paths without a black hole: wide, and narrow with a router that says so.
func TestHealthyPath(t *testing.T) {
	for _, mtu := range []int{1500, 1400} {
		p := newPath(t, mtu, false)
		for _, a := range []netip.Addr{p.v4, p.v6} {
			for protocol, to := range p.servers(a) {
				t.Run(fmt.Sprintf("%s, MTU %d, %s", protocol, mtu, a), func(t *testing.T) {
					p.t = t
					r := p.run(Target{Address: to, Name: "server.example.org"})
					if r.Connection.State != Connected || !r.Hops.Reached || len(r.Hops.Routers) != 2 {
						t.Fatalf("connection %+v, hops %+v", r.Connection, r.Hops)
					}
					for i, h := range r.Hops.Routers {
						if h.Address != p.routers[a.Is4()][i] {
							t.Errorf("hop %d is %s, want %s", i, h.Address, p.routers[a.Is4()][i])
						}
					}
					if o := r.Outward; o.NotChecked != "" || o.Vanish || o.MTU != mtu || (o.Named == mtu) != (mtu < 1500) {
						t.Errorf("outward %+v", o)
					}
					in := r.Inward
					if in.Protocol != protocol || in.Passes != (protocol != Unknown) || (in.NotChecked != "") != (protocol == Unknown) {
						t.Errorf("inward %+v", in)
					}
					if protocol == TLS && mtu == 1500 && in.Largest < in.Offered {
						t.Errorf("the largest segment had %d bytes, offered %d", in.Largest, in.Offered)
					}
				})
			}
		}
	}
}

// TestBlackHole probes paths with a narrow link of which no router tells.
func TestBlackHole(t *testing.T) {
	for _, c := range []struct {
		protocol Protocol
		mtu      int
		is4      bool
		known    bool // the server's port tells its protocol
	}{
		{TLS, 212, true, true},
		{TLS, 212, true, false},
		{HTTP, 212, true, false},
		{SSH, 212, true, false},
		{SSH, 1400, true, true},
		{TLS, 1400, false, true},
		{HTTP, 1400, true, true},
	} {
		t.Run(fmt.Sprintf("%s, MTU %d, IPv4 %v, known port %v", c.protocol, c.mtu, c.is4, c.known), func(t *testing.T) {
			protocol := c.protocol
			p := newPath(t, c.mtu, true)
			a := p.v4
			if !c.is4 {
				a = p.v6
			}
			to := p.servers(a)[protocol]
			if !c.known {
				at := netip.AddrPortFrom(a, 4000)
				serve := map[Protocol]func(netip.AddrPort) (*nstest.LargeServer, error){TLS: p.server.ServeTLS, HTTP: p.server.ServeHTTP, SSH: p.server.ServeSSH}
				to = assert.Must(serve[protocol](at))(t).Addr()
			}
			r := p.run(Target{Address: to})
			o := r.Outward
			if o.NotChecked != "" || !o.Vanish || o.MTU != c.mtu || o.After != 0 || o.Before != 1 {
				t.Errorf("outward %+v", o)
			}
			in := r.Inward
			if protocol == SSH && c.mtu == 1400 { // its answer has only 1 kB
				if !in.Passes || in.Largest > c.mtu {
					t.Errorf("inward %+v", in)
				}
				return
			}
			headers := 40
			if !c.is4 {
				headers = 60
			}
			want := c.mtu - headers
			if in.NotChecked != "" || in.Passes || in.Possible != want || in.Fails <= want || in.Protocol != protocol {
				t.Errorf("inward %+v, want MSS %d", in, want)
			}
		})
	}
}

// TestNarrowOutward: only packets away from the client are limited.
func TestNarrowOutward(t *testing.T) {
	p := newPath(t, 1500, true)
	p.lockMTU(p.r2, "right", "10.3.0.0/24", 700)
	to := p.servers(p.v4)[TLS]
	r := p.run(Target{Address: to})
	if o := r.Outward; !o.Vanish || o.MTU != 700 || o.After != 1 || o.Before != 2 {
		t.Errorf("outward %+v", o)
	}
	if !r.Inward.Passes {
		t.Errorf("inward %+v", r.Inward)
	}
}

// TestLimit: with few packets the search is less precise, and its result stays right.
func TestLimit(t *testing.T) {
	p := newPath(t, 700, true)
	to := p.servers(p.v4)[TLS]
	sent := assert.Must(p.client.Capture("eth0", func(q nstest.Packet) bool { return q.Outgoing && q.Proto == unix.IPPROTO_TCP }))(t)
	for limit, measured := range map[int]bool{4: false, 20: true} {
		var o Outward
		before := len(sent.Packets())
		assert.NoError(t, p.client.Do(func() error {
			raw, err := OpenRaw(Target{Address: to}, p.routers[true][0].Prev()) // the client's address
			if err != nil {
				return err
			}
			defer raw.Close()
			raw.Limit, raw.Timeout = limit, maxTimeout/2
			h, err := raw.Hops(t.Context())
			if err != nil {
				return err
			}
			if o, err = raw.Outward(t.Context(), h, 1500); errors.Is(err, errSpent) {
				o.NotChecked, err = err.Error(), nil
			}
			return err
		}))
		// Packets that are sent at once may get SYN-ACKs, which the kernel answers.
		if n := len(sent.Packets()) - before; n > limit+hopsAtOnce {
			t.Errorf("%d packets were sent, the limit is %d", n, limit)
		}
		if (o.NotChecked == "") != measured || measured != (o.Vanish && o.MTU <= 700 && o.Lost > 700) {
			t.Errorf("limit %d: %+v", limit, o)
		}
		t.Logf("limit %d: %+v", limit, o)
	}
}

// TestNarrowInward: only packets to the client are limited.
func TestNarrowInward(t *testing.T) {
	p := newPath(t, 1500, true)
	p.lockMTU(p.r1, "left", "10.1.0.0/24", 700)
	to := p.servers(p.v4)[TLS]
	r := p.run(Target{Address: to})
	if o := r.Outward; o.Vanish || o.MTU != 1500 {
		t.Errorf("outward %+v", o)
	}
	if in := r.Inward; in.Passes || in.Possible > 660 || in.Fails <= 660 || in.Fails-in.Possible > precision {
		t.Errorf("inward %+v", in)
	}
}

// lockMTU makes a router forward smaller packets only, by a route with a locked MTU.
func (p *path) lockMTU(n *nstest.NS, link, dst string, mtu int) {
	p.t.Helper()
	assert.NoError(p.t, n.Do(func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		to, err := netlink.ParseIPNet(dst)
		if err != nil {
			return err
		}
		return netlink.RouteReplace(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: to, MTU: mtu, MTULock: true, Scope: netlink.SCOPE_LINK, Protocol: unix.RTPROT_KERNEL, Src: nil})
	}))
}

// TestNoConnection: refused, rejected by a router, unanswered, and no route.
func TestNoConnection(t *testing.T) {
	p := newPath(t, 1500, false)
	route := func(dst string, kind int) {
		t.Helper()
		assert.NoError(t, p.r2.Do(func() error {
			to, err := netlink.ParseIPNet(dst)
			if err != nil {
				return err
			}
			return netlink.RouteAdd(&netlink.Route{Dst: to, Type: kind})
		}))
	}
	for dst, kind := range map[string]int{
		"10.3.0.66/32": unix.RTN_BLACKHOLE, "10.3.0.77/32": unix.RTN_PROHIBIT, "fd00:3::66/128": unix.RTN_BLACKHOLE, "fd00:3::77/128": unix.RTN_PROHIBIT,
	} {
		route(dst, kind)
	}
	for _, c := range []struct {
		to    string
		udp   bool
		state State
		by    string
		hops  int
	}{
		{"10.3.0.2:81", false, Refused, "", 2},
		{"10.3.0.2:81", true, Refused, "10.3.0.2", 2},
		{"10.3.0.77:80", false, Rejected, "10.2.0.2", 1},
		{"10.3.0.66:80", false, Unanswered, "", 1},
		{"[fd00:3::2]:81", false, Refused, "", 2},
		{"[fd00:3::2]:81", true, Refused, "fd00:3::2", 2},
		{"[fd00:3::77]:80", false, Rejected, "fd00:2::2", 1},
		{"[fd00:3::66]:80", false, Unanswered, "", 1},
	} {
		t.Run(fmt.Sprintf("%s, UDP %v", c.to, c.udp), func(t *testing.T) {
			p.t = t
			r := p.run(Target{Address: netip.MustParseAddrPort(c.to), UDP: c.udp})
			by := ""
			if r.Connection.By.IsValid() {
				by = r.Connection.By.String()
			}
			if r.Connection.State != c.state || by != c.by {
				t.Errorf("connection %+v", r.Connection)
			}
			if got := r.Hops.LastAnswer() + 1; got != c.hops {
				t.Errorf("%d routers answer, want %d: %+v", got, c.hops, r.Hops)
			}
		})
	}
	var r Result
	assert.NoError(t, p.r2.Do(func() (err error) {
		r, err = Run(t.Context(), Target{Address: netip.MustParseAddrPort("192.0.2.1:80")})
		return err
	}))
	if r.Connection.State != NoRoute {
		t.Errorf("without a route: %+v", r.Connection)
	}
}

// TestUDP probes a service that answers each datagram, on a wide path and on a narrow one.
func TestUDP(t *testing.T) {
	for _, mtu := range []int{1500, 212} {
		p := newPath(t, mtu, true)
		s := assert.Must(p.server.ServeUDP(netip.AddrPortFrom(p.v4, 3000)))(t)
		r := p.run(Target{Address: s.Addr(), UDP: true})
		if r.Connection.State != Connected || r.Outward.MTU != mtu || r.Outward.Vanish != (mtu < 1500) {
			t.Errorf("MTU %d: %+v", mtu, r)
		}
	}
}
