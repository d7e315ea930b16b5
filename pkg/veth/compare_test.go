package veth

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Each object that is removed or changed is a difference.
func TestCompareFinds(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(l *lab, c *space, p *Pair)
		want  string
	}{
		{"the host's end is missing", func(l *lab, _ *space, p *Pair) { l.node.must(l.node.LinkDel(l.node.link(p.HostName))) }, "interface veth00000000005 of the node is missing"},
		{"the host's end down", func(l *lab, _ *space, p *Pair) { l.node.must(l.node.LinkSetDown(l.node.link(p.HostName))) }, "interface veth00000000005 is down"},
		{"another alias", func(l *lab, _ *space, p *Pair) {
			l.node.must(l.node.LinkSetAlias(l.node.link(p.HostName), "another"))
		}, `alias "another" instead of`},
		{"another group", func(l *lab, _ *space, p *Pair) { l.node.must(l.node.LinkSetGroup(l.node.link(p.HostName), 7)) }, "has group 7 instead of"},
		{"another MTU of the host's end", func(l *lab, _ *space, p *Pair) { l.node.must(l.node.LinkSetMTU(l.node.link(p.HostName), 1400)) }, "has MTU 1400 instead of 1500"},
		{"another MAC of the host's end", func(l *lab, _ *space, p *Pair) {
			l.node.must(l.node.LinkSetHardwareAddr(l.node.link(p.HostName), newMAC()))
		}, "interface veth00000000005 has MAC"},
		{"another peer", func(l *lab, c *space, p *Pair) {
			l.node.must(l.node.LinkDel(l.node.link(p.HostName)))
			l.node.must(l.node.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: p.HostName}, PeerName: "other"}))
			l.node.must(l.node.LinkSetAlias(l.node.link(p.HostName), p.Identity))
			c.must(c.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "other"}))
		}, "eth0 of the container has peer"},
		{"no namespace", func(_ *lab, _ *space, p *Pair) { p.NetNS = "/run/netns/mct-veth-none" }, "/run/netns/mct-veth-none"},
		{"the container's end is missing", func(_ *lab, c *space, _ *Pair) { c.must(c.LinkSetName(downed(c, "eth0"), "eth1")) }, "is missing"},
		{"the container's end down", func(_ *lab, c *space, _ *Pair) { downed(c, "eth0") }, "is down"},
		{"a larger MTU of the container's end", func(_ *lab, c *space, _ *Pair) { c.must(c.LinkSetMTU(c.link("eth0"), 9000)) }, "MTU 9000 instead of 1500 or less"},
		{"no IPv4 address", func(_ *lab, c *space, _ *Pair) { c.removeAddress("eth0", "10.88.0.5/16") }, "address 10.88.0.5/16 is missing"},
		{"no IPv6 address", func(_ *lab, c *space, _ *Pair) { c.removeAddress("eth0", "fd00:88::5/64") }, "address fd00:88::5/64 is missing"},
		{"no IPv4 default route", func(_ *lab, c *space, _ *Pair) { c.removeRoute("0.0.0.0/0", "eth0") }, "route default via 169.254.1.1 is missing"},
		{"no IPv6 default route", func(_ *lab, c *space, _ *Pair) { c.removeRoute("::/0", "eth0") }, "route default via fe80::"},
		{"another neighbor", func(_ *lab, c *space, _ *Pair) {
			c.must(c.NeighSet(&netlink.Neigh{LinkIndex: c.link("eth0").Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.ParseIP("169.254.1.1"), HardwareAddr: newMAC()}))
		}, "neighbor 169.254.1.1 has"},
		{"no IPv4 route on the node", func(l *lab, _ *space, p *Pair) { l.node.removeRoute("10.88.0.5/32", p.HostName) }, "no route to 10.88.0.5/32 through"},
		{"no IPv6 route on the node", func(l *lab, _ *space, p *Pair) { l.node.removeRoute("fd00:88::5/128", p.HostName) }, "no route to fd00:88::5/128 through"},
		{"no gateway address", func(l *lab, _ *space, p *Pair) {
			host := l.node.link(p.HostName)
			a, err := l.node.AddrList(host, unix.AF_INET6)
			l.node.must(err)
			l.node.must(l.node.AddrDel(host, &a[0]))
		}, "is missing from interface veth00000000005"},
		{"no forwarding of the host's end", func(l *lab, _ *space, p *Pair) { l.node.sysctl("net/ipv4/conf/"+p.HostName+"/forwarding", "0") }, "net.ipv4.conf.veth00000000005.forwarding is 0 instead of 1"},
		{"no forwarding of the uplink", func(l *lab, _ *space, _ *Pair) { l.node.sysctl("net/ipv4/conf/up0/forwarding", "0") }, "net.ipv4.conf.up0.forwarding is 0 instead of 1"},
		{"no IPv6 forwarding of the host's end", func(l *lab, _ *space, p *Pair) { l.node.sysctl(forwarding6Key(p.HostName), "0") }, settingOf(forwarding6Key("veth00000000005")) + " is 0 instead of 1"},
		{"no IPv6 forwarding of the uplink", func(l *lab, _ *space, _ *Pair) { l.node.sysctl(forwarding6Key("up0"), "0") }, settingOf(forwarding6Key("up0")) + " is 0 instead of 1"},
		{"router advertisements from the container", func(l *lab, _ *space, p *Pair) { l.node.sysctl("net/ipv6/conf/"+p.HostName+"/accept_ra", "1") }, "net.ipv6.conf.veth00000000005.accept_ra is 1 instead of 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			lab := newLab(t)
			inside := newSpace(t)
			p := pair(inside, 5, "4", "6")
			l := mustAdd(t, lab.conn, p)
			p.HostMAC = l.HostMAC
			if found := differences(t, lab.conn, p); found != nil {
				t.Fatalf("before: %q", found)
			}
			c.spoil(lab, inside, &p)
			found := differences(t, lab.conn, p)
			if !slices.ContainsFunc(found, func(d string) bool { return strings.Contains(d, c.want) }) {
				t.Errorf("found %q, want %q among them", found, c.want)
			}
		})
	}
}

func settingOf(key string) string { return strings.ReplaceAll(key, "/", ".") }

// Values that the tuning plugin sets are no differences.
func TestCompareAllowsTuning(t *testing.T) {
	lab := newLab(t)
	c := newSpace(t)
	p := pair(c, 5, "4", "6")
	p.HostMAC = mustAdd(t, lab.conn, p).HostMAC
	c.must(c.LinkSetHardwareAddr(c.link("eth0"), newMAC()))
	c.must(c.LinkSetMTU(c.link("eth0"), 1400))
	if found := differences(t, lab.conn, p); found != nil {
		t.Errorf("%q", found)
	}
}

func downed(s *space, name string) netlink.Link {
	s.t.Helper()
	s.must(s.LinkSetDown(s.link(name)))
	return s.link(name)
}

func (s *space) removeAddress(name, prefix string) {
	s.t.Helper()
	a, err := netlink.ParseAddr(prefix)
	s.must(err)
	s.must(s.AddrDel(s.link(name), a))
}

func (s *space) removeRoute(dst, name string) {
	s.t.Helper()
	r := routeOf(dst, "")
	r.LinkIndex = s.link(name).Attrs().Index
	r.Scope = netlink.SCOPE_NOWHERE
	s.must(s.RouteDel(r))
}
