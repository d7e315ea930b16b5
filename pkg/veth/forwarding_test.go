package veth

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// forwarding6Key returns the sysctl that makes the kernel forward IPv6 from a device.
func forwarding6Key(device string) string {
	if beforeLinux617() {
		return "net/ipv6/conf/all/forwarding"
	}
	return "net/ipv6/conf/" + device + "/force_forwarding"
}

func beforeLinux617() bool {
	_, err := os.Stat("/proc/sys/net/ipv6/conf/all/force_forwarding")
	return err != nil
}

// Forwarding is disabled in a new namespace. Add enables it for the link and the uplinks
// only.
func TestForwarding(t *testing.T) {
	lab := newLab(t)
	other := newSpace(t)
	cable(lab.node, "idle0", other, "idle1") // no address: no uplink
	c := newSpace(t)
	c.serveEcho("::")
	p := pair(c, 5, "4", "6")
	mustAdd(t, lab.conn, p)
	lab.reach(t, c, p)
	type want struct{ key, value string }
	wants := []want{
		{"net/ipv4/ip_forward", "0"},
		{"net/ipv4/conf/up0/forwarding", "1"},
		{"net/ipv4/conf/" + p.HostName + "/forwarding", "1"},
		{"net/ipv4/conf/idle0/forwarding", "0"},
		{"net/ipv4/conf/default/forwarding", "0"},
		{forwarding6Key("up0"), "1"},
		{forwarding6Key(p.HostName), "1"},
	}
	if !beforeLinux617() {
		wants = append(wants,
			want{"net/ipv6/conf/all/forwarding", "0"},
			want{"net/ipv6/conf/idle0/force_forwarding", "0"},
			want{"net/ipv6/conf/up0/accept_ra", "1"})
	}
	for _, want := range wants {
		if got := lab.node.readSysctl(want.key); got != want.value {
			t.Errorf("%s is %s, want %s", want.key, got, want.value)
		}
	}
}

// Before Linux 6.17 all interfaces forward IPv6, or none. Uplinks still have to accept
// router advertisements.
func TestForwardingBeforeLinux617(t *testing.T) {
	lab := newLab(t)
	lab.conn.allForwarding = true
	c := newSpace(t)
	c.serveEcho("::")
	p := pair(c, 5, "4", "6")
	mustAdd(t, lab.conn, p)
	lab.reach(t, c, p)
	for _, want := range []struct{ key, value string }{
		{"net/ipv6/conf/all/forwarding", "1"},
		{"net/ipv6/conf/up0/accept_ra", "2"},
		{"net/ipv6/conf/" + p.HostName + "/accept_ra", "0"},
	} {
		if got := lab.node.readSysctl(want.key); got != want.value {
			t.Errorf("%s is %s, want %s", want.key, got, want.value)
		}
	}
	if found := differences(t, lab.conn, p); found != nil {
		t.Errorf("differences: %q", found)
	}
	lab.node.sysctl("net/ipv6/conf/all/forwarding", "0")
	if found := differences(t, lab.conn, p); found == nil {
		t.Error("no differences without forwarding")
	}
}

// If forwarding is already enabled, Add changes no setting.
func TestForwardingThatIsOnStays(t *testing.T) {
	lab := newLab(t)
	lab.node.sysctl("net/ipv4/ip_forward", "1")
	lab.node.sysctl("net/ipv6/conf/all/forwarding", "1")
	mustAdd(t, lab.conn, pair(newSpace(t), 5, "4", "6"))
	wants := map[string]string{"net/ipv6/conf/up0/accept_ra": "1"}
	if !beforeLinux617() {
		wants["net/ipv6/conf/up0/force_forwarding"] = "0"
	}
	for key, want := range wants {
		if got := lab.node.readSysctl(key); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
}

// Without a default route, each interface with an address may be an uplink.
func TestForwardingWithoutDefaultRoute(t *testing.T) {
	lab := newLab(t)
	lab.node.must(lab.node.RouteDel(routeOf("0.0.0.0/0", server4)))
	lab.node.must(lab.node.RouteDel(routeOf("::/0", server6)))
	c := newSpace(t)
	c.serveEcho("::")
	p := pair(c, 5, "4", "6")
	mustAdd(t, lab.conn, p)
	lab.reach(t, c, p)
}

// An uplink may have only a link-local address and a default route from a router
// advertisement.
func TestForwardingOfALinkLocalUplink(t *testing.T) {
	node := newSpace(t)
	router := newSpace(t)
	cable(node, "up0", router, "r0")
	r := routeOf("::/0", "fe80::1")
	r.LinkIndex = node.link("up0").Attrs().Index
	node.must(node.RouteAdd(r))
	w := node.open()
	mustAdd(t, w, pair(newSpace(t), 5, "6"))
	if got := node.readSysctl(forwarding6Key("up0")); got != "1" {
		t.Errorf("%s is %s", forwarding6Key("up0"), got)
	}
}

// The node ignores router advertisements of a container. With accept_ra=1 the same
// advertisement is accepted, which proves that it is valid.
func TestNodeIgnoresRouterAdvertisementsOfContainers(t *testing.T) {
	for _, families := range [][]string{{"4"}, {"6"}} {
		for _, believe := range []bool{false, true} {
			node := newSpace(t)
			w := node.open()
			c := newSpace(t)
			p := pair(c, 5, families...)
			l := mustAdd(t, w, p)
			if families[0] == "4" {
				c.addr("eth0", linkLocalPrefix(linkLocal(l.MAC)).String())
			}
			if believe {
				node.sysctl("net/ipv6/conf/"+p.HostName+"/accept_ra", "2")
			}
			deadline := time.Now().Add(300 * time.Millisecond)
			if believe {
				deadline = time.Now().Add(5 * time.Second)
			}
			var routes []netlink.Route
			for len(routes) == 0 && time.Now().Before(deadline) {
				c.announce("eth0")
				time.Sleep(10 * time.Millisecond)
				var err error
				routes, err = node.RouteListFiltered(unix.AF_INET6, &netlink.Route{Dst: nil}, netlink.RT_FILTER_DST)
				node.must(err)
			}
			if got := len(routes) > 0; got != believe {
				t.Errorf("IPv%s, accept_ra of Add %v: the node's default routes are %v", families[0], !believe, routes)
			}
		}
	}
}

// announce sends a router advertisement (RFC 4861, section 4.2).
func (s *space) announce(device string) {
	s.t.Helper()
	index := s.link(device).Attrs().Index
	s.do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
			return err
		}
		ra := []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0}
		to := &unix.SockaddrInet6{ZoneId: uint32(index)}
		copy(to.Addr[:], net.ParseIP("ff02::1"))
		return unix.Sendto(fd, ra, 0, to)
	})
}
