package veth

import (
	"fmt"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
)

// flap takes the container's end down and up again, as a program in the container does,
// and makes the routes that this costs the container.
func (l *lab) flap(inside *space, made Link) {
	l.node.t.Helper()
	l.takeDown(inside, made)
	inside.up("eth0")
	inside.routesTo(made)
}

// takeDown takes the end down and returns when the node has noticed that the carrier is gone, which the kernel
// leaves to a worker.
func (l *lab) takeDown(inside *space, made Link) {
	l.node.t.Helper()
	inside.must(inside.LinkSetDown(inside.link("eth0")))
	l.node.await("the carrier is gone", func() bool {
		return l.node.link(made.HostName).Attrs().OperState != netlink.OperUp
	})
}

// routesTo makes the container's routes, which the kernel deletes with the state of the
// interface. The MAC of the IPv4 gateway is left to ARP.
func (s *space) routesTo(l Link) {
	s.t.Helper()
	index := s.link("eth0").Attrs().Index
	for _, r := range []*netlink.Route{
		{Dst: &net.IPNet{IP: net.ParseIP("169.254.1.1").To4(), Mask: net.CIDRMask(32, 32)}, Scope: netlink.SCOPE_LINK},
		routeOf("0.0.0.0/0", "169.254.1.1"),
		routeOf("::/0", l.Gateway6.String()),
	} {
		r.LinkIndex = index
		s.must(s.RouteReplace(r))
	}
}

// converse waits until packets pass in both directions, in each family of the pair.
func (l *lab) converse(inside *space, p Pair) {
	l.node.t.Helper()
	for _, a := range p.Addresses {
		server, own := serverOf(a.Addr()), a.Addr().String()
		inside.await("answers of "+server, func() bool { return inside.ask(server) == nil })
		l.server.await("answers of "+own, func() bool { return l.server.ask(own) == nil })
	}
}

// Whatever the container does to its end, the node's side stays as Add made it: packets
// pass again as soon as the container has its routes, in both families, and nothing
// repairs the link.
func TestFlap(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(lab *lab, inside *space, l Link)
	}{
		{"down and up", func(lab *lab, inside *space, l Link) { lab.flap(inside, l) }},
		{"three times", func(lab *lab, inside *space, l Link) {
			for range 3 {
				lab.flap(inside, l)
			}
		}},
		{"another MAC while down", func(lab *lab, inside *space, l Link) {
			lab.takeDown(inside, l)
			inside.must(inside.LinkSetHardwareAddr(inside.link("eth0"), newMAC()))
			inside.up("eth0")
			inside.routesTo(l)
		}},
		{"another MAC", func(_ *lab, inside *space, _ Link) {
			inside.must(inside.LinkSetHardwareAddr(inside.link("eth0"), newMAC()))
		}},
		{"a lower MTU", func(_ *lab, inside *space, _ Link) { inside.mtu("eth0", MinMTU6) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			lab := newLab(t)
			inside := newSpace(t)
			inside.serveEcho("::")
			p := pair(inside, 5, "4", "6")
			l := mustAdd(t, lab.conn, p)
			lab.converse(inside, p)
			c.do(lab, inside, l)
			if found, err := lab.conn.Compare([]Pair{p}); found != nil || err != nil {
				t.Errorf("the node's side: %v, %v", found, err)
			}
			lab.converse(inside, p)
		})
	}
}

// The control: where the kernel evicts proxy neighbors with the carrier, as it does
// before Linux 5.16, a flap stops IPv4. The event of the carrier that returns names the
// link, and a repair restores both the proxy neighbor and the setting.
func TestFlapWithEvictedNeighbor(t *testing.T) {
	const evicts = "net/ipv4/conf/veth00000000005/arp_evict_nocarrier"
	lab := newLab(t)
	inside := newSpace(t)
	inside.serveEcho("::")
	p := pair(inside, 5, "4", "6")
	l := mustAdd(t, lab.conn, p)
	lab.converse(inside, p)
	e := lab.node.listen(lab.conn)
	if events := e.received(); len(events) > 0 {
		t.Fatalf("events of a link that nothing changes: %+v", events)
	}
	lab.node.sysctl(evicts, "1")
	lab.flap(inside, l)
	if err := inside.ask(server4); err == nil {
		t.Fatal("packets pass without a proxy neighbor")
	}
	var damaged []int
	lab.node.await("the event of the carrier", func() bool {
		damaged = append(damaged, sum(e.received()).Damaged...)
		return len(damaged) > 0
	})
	if damaged[0] != l.HostIndex {
		t.Errorf("the event names interfaces %v, want %d", damaged, l.HostIndex)
	}
	repaired, left, err := lab.conn.RepairIndexes(damaged, func(_ int, identity string) (Pair, bool) { return p, identity == p.Identity })
	if left != nil || err != nil {
		t.Errorf("not repaired: %v, %v", left, err)
	}
	if got, want := fmt.Sprint(kinds(repaired)), fmt.Sprint([]Kind{KindSetting, KindProxy}); got != want {
		t.Errorf("repaired %s, want %s", got, want)
	}
	lab.converse(inside, p)
	if got := lab.node.readSysctl(evicts); got != "0" {
		t.Errorf("%s is %s", evicts, got)
	}
}

func kinds(all []Difference) (out []Kind) {
	for _, d := range all {
		out = append(out, d.Kind)
	}
	return out
}

// The host's end of a link whose sources are checked learns no sender that the node does
// not route to it. Without the check these settings are the node's.
func TestSenderSettings(t *testing.T) {
	keys := map[string]string{"rp_filter": "1", "arp_accept": "0"}
	for _, checked := range []bool{false, true} {
		for _, family := range []string{"4", "6"} {
			t.Run(fmt.Sprintf("checked %t, IPv%s", checked, family), func(t *testing.T) {
				lab := newLab(t)
				lab.node.sysctl("net/ipv4/conf/default/arp_accept", "1")
				p := pair(newSpace(t), 5, family)
				p.CheckSources = checked
				mustAdd(t, lab.conn, p)
				for key, want := range keys {
					if !checked {
						want = lab.node.readSysctl("net/ipv4/conf/default/" + key)
					}
					path := "net/ipv4/conf/" + p.HostName + "/" + key
					if got := lab.node.readSysctl(path); got != want {
						t.Errorf("%s is %s, want %s", path, got, want)
					}
					other := "1"
					if want == "1" {
						other = "0"
					}
					lab.node.sysctl(path, other)
					if _, left, err := lab.conn.Repair([]Pair{p}); left != nil || err != nil {
						t.Errorf("not repaired: %v, %v", left, err)
					}
					if !checked {
						want = other
					}
					if got := lab.node.readSysctl(path); got != want {
						t.Errorf("after a repair %s is %s, want %s", path, got, want)
					}
				}
				// 2 is as strict as 1 for an interface without an IPv4 address.
				lab.node.sysctl("net/ipv4/conf/"+p.HostName+"/rp_filter", "2")
				if found, err := lab.conn.Compare([]Pair{p}); found != nil || err != nil {
					t.Errorf("rp_filter=2: %v, %v", found, err)
				}
			})
		}
	}
}

// A setting that the kernel lacks is no difference: arp_evict_nocarrier before Linux 5.16.
func TestSettingThatTheKernelLacks(t *testing.T) {
	value := func(n int) []byte {
		all := make([]byte, 4*n)
		for i := range n {
			all[4*i] = 1 // little endian or not, it is not 0
		}
		return all
	}
	if _, differs := conf4KeepProxies.differs(device{conf4: value(conf4KeepProxies.index - 1)}); differs {
		t.Error("a setting that the kernel lacks differs")
	}
	if _, differs := conf4KeepProxies.differs(device{conf4: value(conf4KeepProxies.index)}); !differs {
		t.Error("a setting of another value does not differ")
	}
}
