package veth

import (
	"fmt"
	"slices"
	"testing"
)

// The source is what packets would be masqueraded to, and an address that another
// interface has makes no uplink of that.
func TestUplinks(t *testing.T) {
	for _, c := range []struct {
		name, ip string
		want     []string
		only     []string // uplinks with a link-local source
	}{
		{
			"one of each family", "address add 10.0.1.1/24 dev a0\n-6 address add fd00:1::1/64 dev a0 nodad\nroute add default via 10.0.1.2\n-6 route add default via fd00:1::2",
			[]string{"a0 10.0.1.1 1500", "a0 fd00:1::1 1500"},
			nil,
		},
		{
			"two", "address add 10.0.1.1/24 dev a0\naddress add 10.0.2.1/24 dev b0\nroute add default nexthop via 10.0.1.2 nexthop via 10.0.2.2",
			[]string{"a0 10.0.1.1 1500", "b0 10.0.2.1 1500"},
			nil,
		},
		{"an address on lo, IPv4", "address add 192.0.2.7/32 dev lo\n-4 route add default via inet6 fe80::1 dev a0", []string{"a0 192.0.2.7 1500"}, nil},
		{"an address on lo, IPv6", "-6 address add 2001:db8::7/128 dev lo nodad\n-6 route add default via fe80::1 dev a0", []string{"a0 2001:db8::7 1500"}, nil},
		{"a link-local address alone", "-6 route add default via fe80::1 dev a0", []string{"a0 fe80::ff:fe00:7 1500"}, []string{"a0"}},
		{
			"a link-local address, of two", "-6 address add fd00:2::1/64 dev b0 nodad\n-6 address add fe80::77/64 dev b0 nodad\n-6 route add default nexthop via fe80::1 dev b0 nexthop via fe80::1 dev a0",
			[]string{"b0 fd00:2::1 1500", "a0 fd00:2::1 1500"},
			nil,
		}, // that of another interface is better
		{
			"for some sources", "address add 10.0.1.1/24 dev a0\naddress add 10.0.2.1/24 dev b0\nroute add default via 10.0.1.2\nrule add from 10.9.0.0/16 lookup 1000\nroute add default via 10.0.2.2 table 1000",
			[]string{"a0 10.0.1.1 1500", "b0 10.0.2.1 1500"},
			nil,
		},
		{"none", "address add 10.0.1.1/24 dev a0", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			node, far := newSpace(t), newSpace(t)
			for i, name := range []string{"a0", "b0"} {
				cable(node, name, far, fmt.Sprintf("far%d", i))
				node.settled(name)
				node.removeGateway(name) // that the kernel has made
			}
			node.ip("-6 address add fe80::ff:fe00:7/64 dev a0 nodad\n" + c.ip)
			w := node.open()
			all, err := w.Uplinks()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, u := range all {
				got = append(got, fmt.Sprintf("%s %s %d", u.Interface, u.Source, u.MTU))
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if only, err := w.LinkLocalUplinks(); err != nil || !slices.Equal(only, c.only) {
				t.Errorf("link-local: %q (%v), want %q", only, err, c.only)
			}
		})
	}
}
