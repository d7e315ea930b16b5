package veth

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestUplinkMTU(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(n, far *space)
		want    int
	}{
		{"nothing", func(_, _ *space) {}, 1500},
		{"the default route's interface", func(n, _ *space) {
			n.mtu("a0", 1400)
			n.mtu("b0", 1300)
			n.addr("a0", "10.0.0.1/24")
			n.addr("b0", "10.0.1.1/24")
			n.route("0.0.0.0/0", "10.0.0.2")
		}, 1400},
		{"the smaller of two families", func(n, _ *space) {
			n.mtu("a0", 1400)
			n.mtu("b0", 1300)
			n.addr("a0", "10.0.0.1/24")
			n.addr("b0", "fd00::1/64")
			n.route("0.0.0.0/0", "10.0.0.2")
			n.route("::/0", "fd00::2")
		}, 1300},
		{"the route's own", func(n, _ *space) {
			n.addr("a0", "10.0.0.1/24")
			r := routeOf("0.0.0.0/0", "10.0.0.2")
			r.MTU = 1350
			n.must(n.RouteAdd(r))
		}, 1350},
		{"the IPv6 route's own", func(n, _ *space) {
			n.addr("a0", "fd00::1/64")
			r := routeOf("::/0", "fd00::2")
			r.MTU = 1350
			n.must(n.RouteAdd(r))
		}, 1350},
		{"what a router announced for IPv6", func(n, _ *space) {
			n.addr("a0", "fd00::1/64")
			n.route("::/0", "fd00::2")
			n.sysctl("net/ipv6/conf/a0/mtu", "1320")
		}, 1320},
		{"no default route: the smallest that is up and has an address", func(n, _ *space) {
			n.mtu("a0", 1400)
			n.mtu("b0", 1300)
			n.mtu("c0", 1290)
			n.addr("a0", "10.0.0.1/24")
			n.addr("b0", "10.0.1.1/24")
			n.addr("c0", "10.0.2.1/24")
			n.must(n.LinkSetDown(n.link("c0")))
		}, 1300},
		{"link-local addresses and lo do not count", func(n, _ *space) {
			n.mtu("a0", 1400)
			n.mtu("b0", 1300)
			n.addr("a0", "fd00::1/64")
			n.addr("b0", "169.254.7.7/16")
			n.addr("lo", "192.0.2.1/32")
		}, 1400},
		{"a default route of several next hops, IPv6", func(n, _ *space) {
			n.mtu("a0", 1400)
			n.mtu("b0", 1400)
			n.mtu("c0", 1300) // not a next hop
			n.addr("a0", "fd00::1/64")
			n.addr("b0", "fd01::1/64")
			n.addr("c0", "fd02::1/64")
			r := routeOf("::/0", "")
			for dev, via := range map[string]string{"a0": "fd00::2", "b0": "fd01::2"} {
				r.MultiPath = append(r.MultiPath, &netlink.NexthopInfo{LinkIndex: n.link(dev).Attrs().Index, Gw: net.ParseIP(via)})
			}
			n.must(n.RouteAdd(r))
		}, 1400},
		{"an unreachable default route is none", func(n, _ *space) {
			n.mtu("a0", 1400)
			n.addr("a0", "10.0.0.1/24")
			for _, dst := range []string{"0.0.0.0/0", "::/0"} {
				r := routeOf(dst, "")
				r.Type = unix.RTN_UNREACHABLE
				n.must(n.RouteAdd(r))
			}
		}, 1400},
	} {
		t.Run(c.name, func(t *testing.T) {
			node, far := newSpace(t), newSpace(t)
			cable(node, "a0", far, "a1")
			cable(node, "b0", far, "b1")
			cable(node, "c0", far, "c1")
			w := node.open()
			c.prepare(node, far)
			// Links of ours have the uplink's MTU, or less: they do not count.
			p := pair(newSpace(t), 5, "4", "6")
			p.MTU = 1280
			mustAdd(t, w, p)
			got, err := w.UplinkMTU()
			if err != nil || got != c.want {
				t.Errorf("got %d (%v), want %d", got, err, c.want)
			}
		})
	}
}

func (s *space) mtu(name string, mtu int) {
	s.t.Helper()
	s.must(s.LinkSetMTU(s.link(name), mtu))
}

func TestHasAddress(t *testing.T) {
	lab := newLab(t)
	p := pair(newSpace(t), 5, "4", "6")
	mustAdd(t, lab.conn, p)
	lab.node.must(lab.node.RouteAdd(&netlink.Route{ // any address of it is the node's
		Dst: routeOf("198.51.100.0/24", "").Dst, Type: unix.RTN_LOCAL, LinkIndex: 1, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST,
	}))
	for a, want := range map[string]bool{
		"10.0.0.1": true, "fd00:10::1": true, "198.51.100.7": true,
		"10.0.0.2": false, "10.0.0.255": false, "10.88.0.5": false, "192.0.2.1": false,
		"fd00:10::2": false, "fd00:88::5": false, "2001:db8::1": false, "224.0.0.1": false, "ff02::1": false,
	} {
		if got, err := lab.conn.HasAddress(netip.MustParseAddr(a)); got != want || err != nil {
			t.Errorf("%s: %v (%v), want %v", a, got, err, want)
		}
	}
	if got, err := newSpace(t).open().HasAddress(netip.MustParseAddr("192.0.2.1")); got || err != nil {
		t.Errorf("on a node without any network: %v (%v)", got, err)
	}
}
