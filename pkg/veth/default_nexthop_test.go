package veth

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

func TestDefaultNextHops(t *testing.T) {
	for _, c := range []struct {
		name, ip string
		want     []string // family, destination, table, interface, gateway, MTU of route and interface, flags
	}{
		{"none", "address add 10.0.1.1/24 dev a0", nil},
		{
			"one of each family", "address add 10.0.1.1/24 dev a0\nroute add default via 10.0.1.2 mtu 1400\n-6 route add default via fe80::1 dev a0 proto ra",
			[]string{"4 0.0.0.0/0 254 a0 10.0.1.2 1400 1500 best", "6 ::/0 254 a0 fe80::1 0 1500 best ra"},
		},
		{
			"without a gateway", "address add 10.0.1.1/24 dev a0\nroute add default dev a0",
			[]string{"4 0.0.0.0/0 254 a0 invalid IP 0 1500 best"},
		},
		{
			"several next hops", "address add 10.0.1.1/24 dev a0\naddress add 10.0.2.1/24 dev b0\nroute add default nexthop via 10.0.1.2 nexthop via 10.0.2.2",
			[]string{"4 0.0.0.0/0 254 a0 10.0.1.2 0 1500 best", "4 0.0.0.0/0 254 b0 10.0.2.2 0 1500 best"},
		},
		{
			"several routes", "address add 10.0.1.1/24 dev a0\naddress add 10.0.2.1/24 dev b0\nroute add default via 10.0.1.2 metric 10\nroute add default via 10.0.2.2 metric 20",
			[]string{"4 0.0.0.0/0 254 a0 10.0.1.2 0 1500 best", "4 0.0.0.0/0 254 b0 10.0.2.2 0 1500"},
		},
		{
			"a table", "address add 10.0.1.1/24 dev a0\naddress add 10.0.2.1/24 dev b0\nroute add default via 10.0.1.2\nrule add from 10.9.0.0/16 lookup 1000\nroute add default via 10.0.2.2 table 1000",
			[]string{"4 0.0.0.0/0 254 a0 10.0.1.2 0 1500 best", "4 0.0.0.0/0 1000 b0 10.0.2.2 0 1500"},
		},
		{
			"a next hop of the other family", "address add 192.0.2.7/32 dev lo\n-4 route add default via inet6 fe80::1 dev a0",
			[]string{"4 0.0.0.0/0 254 a0 fe80::1 0 1500 best"},
		},
		{
			"half of the addresses", "address add 10.0.1.1/24 dev a0\naddress add 10.0.2.1/24 dev b0\nroute add default via 10.0.1.2\nroute add 128.0.0.0/1 via 10.0.2.2",
			[]string{"4 128.0.0.0/1 254 b0 10.0.2.2 0 1500 best", "4 0.0.0.0/0 254 a0 10.0.1.2 0 1500"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			node, far := newSpace(t), newSpace(t)
			for i, name := range []string{"a0", "b0"} {
				cable(node, name, far, fmt.Sprintf("far%d", i))
				node.settled(name)
			}
			node.ip(c.ip)
			all, err := node.open().DefaultNextHops(masq.Families[:]...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, h := range all {
				s := fmt.Sprintf("%s %s %d %s %s %d %d", h.Family, h.Destination, h.Table, h.Interface, h.Gateway, h.RouteMTU, h.InterfaceMTU)
				if h.Best {
					s += " best"
				}
				if h.RA {
					s += " ra"
				}
				got = append(got, s)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestForward: the kernel forwards a packet, drops one whose source fails reverse path
// filtering, and drops one without a route.
func TestForward(t *testing.T) {
	node, far := newSpace(t), newSpace(t)
	for i, name := range []string{"a0", "b0"} {
		cable(node, name, far, fmt.Sprintf("far%d", i))
	}
	node.ip("address add 10.0.1.1/24 dev a0\naddress add 10.0.2.1/24 dev b0\nroute add 192.0.2.0/24 via 10.0.1.2")
	node.sysctl("net/ipv4/ip_forward", "1")
	a0, b0 := node.link("a0").Attrs().Index, node.link("b0").Attrs().Index
	outside, inside := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("10.0.2.9")
	packets := []ForwardedPacket{
		{Src: inside, Dst: outside, Index: b0},
		{Src: outside, Dst: inside, Index: a0},
		{Src: outside, Dst: netip.MustParseAddr("10.0.2.8"), Index: b0}, // the route to the source leads to a0
		{Src: inside, Dst: netip.MustParseAddr("198.51.100.9"), Index: b0},
	}
	w := node.open()
	for _, filter := range []string{"0", "1"} {
		node.sysctl("net/ipv4/conf/all/rp_filter", filter)
		want := []int{a0, b0, b0, 0}
		if filter == "1" {
			want[2] = 0
		}
		if got, err := w.Forward(packets); err != nil || !slices.Equal(got, want) {
			t.Errorf("rp_filter %s: %v (%v), want %v", filter, got, err, want)
		}
	}
	if got, err := w.InterfacesTo([]netip.Addr{inside, outside, netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("2001:db8::1")}); err != nil || !slices.Equal(got, []int{b0, a0, 0, 0}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestEachRoute(t *testing.T) {
	node, far := newSpace(t), newSpace(t)
	cable(node, "a0", far, "far0")
	node.ip("address add 10.0.1.1/24 dev a0\nroute add 192.0.2.0/24 via 10.0.1.2 mtu 1400\nroute add blackhole 198.51.100.0/24")
	var got []Route
	err := node.open().EachRoute(masq.IPv4, func() { got = nil }, func(r Route) { got = append(got, r) })
	a0 := node.link("a0").Attrs().Index
	want := []Route{
		{Destination: netip.MustParsePrefix("10.0.1.0/24"), Table: unix.RT_TABLE_MAIN, Index: a0},
		{Destination: netip.MustParsePrefix("192.0.2.0/24"), Table: unix.RT_TABLE_MAIN, Index: a0, Gateway: netip.MustParseAddr("10.0.1.2"), MTU: 1400},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}
