package veth

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// ip runs ip(8) in the namespace, once for each line.
func (s *space) ip(lines string) {
	s.t.Helper()
	for line := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
		s.do(func() error {
			out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("ip %s: %w: %s", line, err, out)
			}
			return nil
		})
	}
}

// Each next hop of each default route that a rule leads to is an uplink: its packets are
// forwarded, and the lowest MTU applies.
func TestDefaultUplinks(t *testing.T) {
	for _, c := range []struct {
		name, ip string
		want     string
		mtu      int // of c0 it is 1300, of b0 1400, else 1500
	}{
		{"IPv4, one", "route add default via 10.0.1.2", "4:a0", 1500},
		{"IPv4, several next hops", "route add default nexthop via 10.0.1.2 nexthop via 10.0.2.2", "4:a0 4:b0", 1400},
		{"IPv4, next hops by IPv6", "-4 route add default nexthop via inet6 fe80::1 dev b0 nexthop via inet6 fe80::2 dev c0", "4:b0 4:c0", 1300},
		{"IPv4, a nexthop object", "nexthop add id 7 via 10.0.2.2 dev b0\nroute add default nhid 7", "4:b0", 1400},
		{"IPv4, a nexthop group", "nexthop add id 7 via 10.0.2.2 dev b0\nnexthop add id 8 via inet6 fe80::1 dev c0\nnexthop add id 9 group 7/8\nroute add default nhid 9", "4:b0 4:c0", 1300},
		{"IPv4, another with a worse metric", "route add default via 10.0.1.2\nroute add default via 10.0.2.2 metric 500", "4:a0 4:b0", 1400},
		{"IPv4, a table by source", "route add default via 10.0.1.2\nrule add from 10.9.0.0/16 lookup 1000\nroute add default via 10.0.3.2 table 1000", "4:a0 4:c0", 1300},
		{"IPv4, a table by mark", "route add default via 10.0.1.2\nrule add fwmark 7 lookup 77\nroute add default via 10.0.3.2 table 77", "4:a0 4:c0", 1300},
		{"IPv4, a table that no rule leads to", "route add default via 10.0.1.2\nroute add default via 10.0.3.2 table 77", "4:a0", 1500},
		{"IPv4, a rule without its table", "route add default via 10.0.1.2\nrule add fwmark 7 lookup 77", "4:a0", 1500},
		{"IPv4, halves of the address space", "route add 0.0.0.0/1 via 10.0.2.2\nroute add 128.0.0.0/1 via 10.0.2.2\nroute add default via 10.0.1.2", "4:b0 4:a0", 1400},
		{"IPv4, one that forbids", "route add default via 10.0.1.2\nroute add unreachable default metric 4000", "4:a0", 1500},
		{"IPv4, the route's own MTU", "route add default via 10.0.1.2\nroute add default via 10.0.1.2 metric 500 mtu 1350", "4:a0", 1350},
		{"IPv6, one", "-6 route add default via fd00:1::2", "6:a0", 1500},
		{"IPv6, several next hops", "-6 route add default nexthop via fd00:1::2 nexthop via fd00:2::2", "6:a0 6:b0", 1400},
		{"IPv6, a nexthop group", "nexthop add id 7 via fd00:2::2 dev b0\nnexthop add id 8 via fd00:3::2 dev c0\nnexthop add id 9 group 7/8\n-6 route add default nhid 9", "6:b0 6:c0", 1300},
		{"IPv6, another with a worse metric", "-6 route add default via fd00:1::2 metric 100\n-6 route add default via fd00:2::2 metric 500", "6:a0 6:b0", 1400},
		{"IPv6, a table by source", "-6 route add default via fd00:1::2\n-6 rule add from fd00:9::/64 lookup 1000\n-6 route add default via fd00:3::2 table 1000\n-6 route add fd00:8::/64 via fd00:3::2 table 1000", "6:a0 6:c0", 1300},
		{"both", "route add default nexthop via 10.0.1.2 nexthop via 10.0.2.2\n-6 route add default via fd00:3::2", "4:a0 4:b0 6:c0", 1300},
		{"a link that is down", "route add default nexthop via 10.0.1.2 nexthop via 10.0.3.2\nlink set c0 down", "4:a0 4:c0", 1500},
	} {
		for _, compat := range []string{"1", "0"} {
			if compat == "0" && !strings.Contains(c.ip, "nexthop add") {
				continue
			}
			t.Run(c.name+map[string]string{"0": ", by the object alone"}[compat], func(t *testing.T) {
				node, far := newSpace(t), newSpace(t)
				node.sysctl("net/ipv4/nexthop_compat_mode", compat)
				for i, name := range []string{"a0", "b0", "c0"} {
					cable(node, name, far, fmt.Sprintf("far%d", i))
					node.addr(name, fmt.Sprintf("10.0.%d.1/24", i+1))
					node.addr(name, fmt.Sprintf("fd00:%d::1/64", i+1))
				}
				node.mtu("b0", 1400)
				node.mtu("c0", 1300)
				node.ip(c.ip)
				for n := range 600 { // more than one answer of the kernel holds
					node.ipRoute(n)
				}
				w := node.open()
				all, err := w.defaultUplinks(masq.Families[:])
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, u := range all {
					got = append(got, fmt.Sprintf("%s:%s", u.family, u.name))
				}
				want := strings.Fields(c.want)
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
				if mtu, err := w.UplinkMTU(); err != nil || mtu != c.mtu {
					t.Errorf("MTU %d (%v), want %d", mtu, err, c.mtu)
				}
				mustAdd(t, w, pair(newSpace(t), 5, "4", "6"))
				for _, u := range all {
					key := "net/ipv4/conf/" + u.name + "/forwarding"
					if u.family == masq.IPv6 {
						key = forwarding6Key(u.name)
					}
					if got := node.readSysctl(key); got != "1" {
						t.Errorf("%s is %s", key, got)
					}
				}
			})
		}
	}
}

// ipRoute adds one of many routes.
func (s *space) ipRoute(n int) {
	s.t.Helper()
	r := routeOf(fmt.Sprintf("10.200.%d.%d/32", n/250, n%250), "")
	r.LinkIndex = s.link("a0").Attrs().Index
	s.must(s.RouteAdd(r))
}
