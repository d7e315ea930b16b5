package veth

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Packets are lost when the node's side of a link is damaged, in each way, until it is
// repaired by the index of the interface.
func TestRepair(t *testing.T) {
	const end = "veth00000000005"
	for _, c := range []struct {
		name  string
		spoil func(l *lab, inside *space)
		lost  string // the server whose answers are lost; empty where packets pass
		want  []string
	}{
		{
			"the IPv4 route", func(l *lab, _ *space) { l.node.removeRoute("10.88.0.5/32", end) }, server4,
			[]string{"route 10.88.0.5/32"},
		},
		{
			"the IPv6 route", func(l *lab, _ *space) { l.node.removeRoute("fd00:88::5/128", end) }, server6,
			[]string{"route fd00:88::5/128"},
		},
		{"all routes", func(l *lab, _ *space) {
			l.node.removeRoute("10.88.0.5/32", end)
			l.node.removeRoute("fd00:88::5/128", end)
		}, server4, []string{"route 10.88.0.5/32", "route fd00:88::5/128"}},
		{"the IPv6 gateway", func(l *lab, inside *space) {
			l.node.removeGateway(end)
			inside.forgetNeighbors()
		}, server6, []string{"address fe80"}},
		{
			"the link down", func(l *lab, _ *space) { downed(l.node, end) }, server4,
			[]string{"state " + end, "proxy 169.254.1.1", "route 10.88.0.5/32", "route fd00:88::5/128", "address fe80"},
		},
		{"IPv6 of the link", func(l *lab, inside *space) {
			l.node.sysctl("net/ipv6/conf/"+end+"/disable_ipv6", "1")
			inside.forgetNeighbors()
		}, server6, []string{"setting net.ipv6.conf." + end + ".disable_ipv6", "route fd00:88::5/128", "address fe80"}},
		{
			"the MAC", func(l *lab, _ *space) { l.node.must(l.node.LinkSetHardwareAddr(l.node.link(end), newMAC())) }, server4,
			[]string{"mac " + end},
		},
		{"the MTU, too small for IPv6", func(l *lab, inside *space) {
			l.node.mtu(end, 1000)
			inside.forgetNeighbors()
		}, server6, []string{"mtu " + end, "route fd00:88::5/128", "address fe80"}},
		{
			"the group", func(l *lab, _ *space) { l.node.must(l.node.LinkSetGroup(l.node.link(end), 7)) }, "",
			[]string{"group " + end},
		},
		{"the proxy neighbor", func(l *lab, inside *space) {
			l.node.must(l.node.NeighDel(&netlink.Neigh{LinkIndex: l.node.link(end).Attrs().Index, Flags: netlink.NTF_PROXY, IP: net.ParseIP("169.254.1.1"), Family: unix.AF_INET}))
			inside.must(inside.LinkSetHardwareAddr(inside.link("eth0"), newMAC())) // forgets the gateway's MAC
		}, server4, []string{"proxy 169.254.1.1"}},
		{
			"the delay of the proxy", func(l *lab, _ *space) { l.node.sysctl("net/ipv4/neigh/"+end+"/proxy_delay", "80") }, "",
			[]string{"proxy 169.254.1.1"},
		},
		{
			"router advertisements from the container", func(l *lab, _ *space) { l.node.sysctl("net/ipv6/conf/"+end+"/accept_ra", "1") }, "",
			[]string{"setting net.ipv6.conf." + end + ".accept_ra"},
		},
		{
			"forwarding of the link", func(l *lab, _ *space) { l.node.sysctl("net/ipv4/conf/"+end+"/forwarding", "0") }, server4,
			[]string{"setting net.ipv4.conf." + end + ".forwarding"},
		},
		{
			"forwarding of the uplink", func(l *lab, _ *space) { l.node.sysctl("net/ipv4/conf/up0/forwarding", "0") }, server4,
			[]string{"setting net.ipv4.conf.up0.forwarding"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			lab := newLab(t)
			inside := newSpace(t)
			inside.serveEcho("::")
			p := pair(inside, 5, "4", "6")
			l := mustAdd(t, lab.conn, p)
			p.HostMAC = l.HostMAC
			find := func(_ int, identity string) (Pair, bool) { return p, identity == p.Identity }
			lab.reach(t, inside, p)
			if repaired, left, err := lab.conn.RepairIndexes([]int{l.HostIndex}, find); repaired != nil || left != nil || err != nil {
				t.Fatalf("repaired what is whole: %v, not repaired: %v, %v", repaired, left, err)
			}
			c.spoil(lab, inside)
			if c.lost != "" {
				if err := inside.ask(c.lost); err == nil {
					t.Fatalf("packets to %s pass before the repair", c.lost)
				}
			}
			repaired, left, err := lab.conn.RepairIndexes([]int{l.HostIndex}, find)
			if left != nil || err != nil {
				t.Errorf("not repaired: %v, %v", left, err)
			}
			var got []string
			for _, d := range repaired {
				got = append(got, fmt.Sprintf("%s %s", d.Kind, d.Object))
			}
			for _, want := range c.want {
				if !slices.ContainsFunc(got, func(s string) bool { return len(s) >= len(want) && s[:len(want)] == want }) {
					t.Errorf("repaired %q, want %q among them", got, want)
				}
			}
			if found := differences(t, lab.conn, p); found != nil {
				t.Errorf("after the repair: %q", found)
			}
			for _, a := range p.Addresses { // either end may have given the other up for a second
				inside.await("the way to "+serverOf(a.Addr()), func() bool { return inside.ask(serverOf(a.Addr())) == nil })
			}
			lab.reach(t, inside, p)
		})
	}
}

// Repair does not change objects of other programs, and returns the difference.
func TestRepairKeepsOtherObjects(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(l *lab, p *Pair)
		want  Difference
	}{
		{
			"a missing link", func(l *lab, p *Pair) { l.node.must(l.node.LinkDel(l.node.link(p.HostName))) },
			Difference{Kind: KindInterface, Reason: masq.Missing},
		},
		{"a link with another alias", func(l *lab, p *Pair) {
			l.node.must(l.node.LinkSetAlias(l.node.link(p.HostName), "another"))
			downed(l.node, p.HostName)
		}, Difference{Kind: KindAlias, Reason: masq.Changed}},
		{"another route to the container's address", func(l *lab, _ *Pair) {
			r := routeOf("10.88.0.5/32", server4)
			l.node.must(l.node.RouteReplace(r))
		}, Difference{Kind: KindRoute, Reason: masq.Changed}},
	} {
		t.Run(c.name, func(t *testing.T) {
			lab := newLab(t)
			p := pair(newSpace(t), 5, "4", "6")
			mustAdd(t, lab.conn, p)
			c.spoil(lab, &p)
			before := lab.node.links()
			_, left, err := lab.conn.Repair([]Pair{p})
			if err != nil || len(left) != 1 || left[0].Kind != c.want.Kind || left[0].Reason != c.want.Reason {
				t.Errorf("not repaired: %v, %v, want %+v", left, err, c.want)
			}
			if lab.node.links() != before {
				t.Errorf("%d links instead of %d", lab.node.links(), before)
			}
			if l, err := lab.node.LinkByName(p.HostName); err == nil && c.want.Kind == KindAlias && l.Attrs().Flags&net.FlagUp != 0 {
				t.Error("brought up another's link")
			}
		})
	}
}

// Many links are compared as one is, and what is wrong with some says nothing of the
// others.
func TestRepairMany(t *testing.T) {
	lab := newLab(t)
	inside := newSpace(t)
	inside.serveEcho("::")
	var pairs []Pair
	for n := range listThreshold + 10 {
		p := pair(inside, n+2, "4", "6")
		p.Interface = fmt.Sprintf("net%d", n)
		if n > 0 {
			p.Routes = []masq.Route{hostRouteOf(p.Addresses[0]), hostRouteOf(p.Addresses[1])}
		}
		p.HostMAC = mustAdd(t, lab.conn, p).HostMAC
		pairs = append(pairs, p)
	}
	found, err := lab.conn.Compare(pairs)
	if err != nil || found != nil {
		t.Fatalf("%v, %v", found, err)
	}
	lab.node.removeRoute("10.88.0.2/32", pairs[0].HostName)
	downed(lab.node, pairs[3].HostName)
	lab.node.must(lab.node.LinkDel(lab.node.link(pairs[5].HostName)))
	lab.node.must(lab.node.LinkSetName(downed(lab.node, pairs[7].HostName), "renamed"))
	if err := inside.ask(server4); err == nil {
		t.Error("packets pass without a route")
	}
	repaired, left, err := lab.conn.Repair(pairs)
	if err != nil {
		t.Error(err)
	}
	touched := map[string]int{}
	for _, d := range repaired {
		touched[d.Identity]++
	}
	if len(touched) != 3 || touched[pairs[0].Identity] != 1 || touched[pairs[3].Identity] == 0 || touched[pairs[7].Identity] == 0 {
		t.Errorf("repaired %v", repaired)
	}
	if len(left) != 1 || left[0].Identity != pairs[5].Identity {
		t.Errorf("left %v", left)
	}
	inside.await("the way to "+server4, func() bool { return inside.ask(server4) == nil })
	if found, err := lab.conn.Compare(pairs); err != nil || len(found) != 1 {
		t.Errorf("after: %v, %v", found, err)
	}
}

func (s *space) removeGateway(name string) {
	s.t.Helper()
	link := s.link(name)
	all, err := s.AddrList(link, unix.AF_INET6)
	s.must(err)
	for _, a := range all {
		s.must(s.AddrDel(link, &a))
	}
}

// forgetNeighbors makes the container resolve the MAC of its IPv6 gateway again.
func (s *space) forgetNeighbors() {
	s.t.Helper()
	all, err := s.NeighList(s.link("eth0").Attrs().Index, unix.AF_INET6)
	s.must(err)
	for _, n := range all {
		s.must(s.NeighDel(&n))
	}
}
