package doctor

import (
	"net/netip"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/probe"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// probed returns a path with routers: the node, its next hop, and others. An empty address is a
// router that does not answer.
func probed(routers ...string) *ProbedPath {
	x := &ProbedPath{}
	x.Target.Address = netip.MustParseAddrPort("198.51.100.7:443")
	x.Route = probe.Route{Interface: "eth0", LinkMTU: 1500, MTU: 1500}
	x.HostLink = probe.Route{Interface: "veth1", LinkMTU: 1500}
	x.Uplink = probe.Route{Interface: "uplink", LinkMTU: 1500, MTU: 1500, Gateway: netip.MustParseAddr("192.0.2.1")}
	for i, r := range routers {
		h := probe.Hop{TTL: i + 1}
		if r != "" {
			h.Address = netip.MustParseAddr(r)
		}
		x.Hops.Routers = append(x.Hops.Routers, h)
	}
	return x
}

// TestLastPoint: a lost packet is located between two points, from what answers.
func TestLastPoint(t *testing.T) {
	container := &ProbeFacts{Record: &store.Record{}, Trace: &trace{}}
	node := &ProbeFacts{Trace: &trace{}}
	flow := func(x *ProbedPath) *ProbedPath {
		x.Flow = &conntrack.Flow{}
		return x
	}
	reached := probed("10.88.0.1", "192.0.2.1")
	reached.Hops.Reached = true
	onLink := flow(probed("10.88.0.1"))
	onLink.Uplink.Gateway = netip.Addr{}
	for name, c := range map[string]struct {
		p          *ProbeFacts
		x          *ProbedPath
		last, next string
		lost       int // index of the station
	}{
		"no answer at all":    {container, probed(), "interface eth0 of the container", "the node", 0},
		"the node answers":    {container, probed("10.88.0.1"), "the node", "uplink uplink of the node", 1},
		"conntrack has it":    {container, flow(probed("10.88.0.1")), "uplink uplink of the node", "next hop 192.0.2.1", 2},
		"conntrack, no hops":  {container, flow(probed()), "uplink uplink of the node", "next hop 192.0.2.1", 2},
		"on the link":         {container, onLink, "uplink uplink of the node", "198.51.100.7", 2},
		"next hop":            {container, flow(probed("10.88.0.1", "192.0.2.1")), "router 192.0.2.1", "the next router or 198.51.100.7", 3},
		"third router":        {container, flow(probed("10.88.0.1", "", "10.9.0.2")), "router 10.9.0.2", "the next router or 198.51.100.7", 4},
		"the target answers":  {container, reached, "198.51.100.7", "the answer's way back", 4},
		"from the node":       {node, probed(), "uplink uplink of the node", "next hop 192.0.2.1", 0},
		"from the node, hop":  {node, probed("192.0.2.1"), "router 192.0.2.1", "the next router or 198.51.100.7", 1},
		"from the node, hops": {node, probed("192.0.2.1", "10.9.0.2"), "router 10.9.0.2", "the next router or 198.51.100.7", 2},
	} {
		last, next := c.p.lastPoint(c.x)
		if last != c.last || next != c.next {
			t.Errorf("%s: %q, %q", name, last, next)
		}
		c.x.Connection.State = probe.Unanswered
		path := c.p.path(c.x)
		for i, s := range path.Stations {
			if (s.Lost != "") != (i == c.lost) {
				t.Errorf("%s: station %d: %+v", name, i, s)
			}
		}
	}
}

// TestNarrow: the finding and the drawn path name the same narrow link.
func TestNarrow(t *testing.T) {
	p := &ProbeFacts{Record: &store.Record{}, Trace: &trace{}}
	for name, c := range map[string]struct {
		change func(*ProbedPath)
		want   string
		marked string
	}{
		"the uplink": {func(x *ProbedPath) {
			x.Uplink.LinkMTU = 212
			x.Inward = probe.Inward{Offered: 536, Possible: 172, Fails: 180}
			x.Outward = probe.Outward{MTU: 212, Named: 212, By: netip.MustParseAddr("10.88.0.1")}
		}, " at uplink uplink of the node, MTU 212", "uplink"},
		"beyond the node": {func(x *ProbedPath) {
			x.Inward = probe.Inward{Offered: 1460, Possible: 172, Fails: 180}
			x.Outward = probe.Outward{MTU: 212, Vanish: true, After: 1, Before: 2}
		}, " between 192.0.2.1 and 10.9.0.2", "10.9.0.2"},
		"the last link": {func(x *ProbedPath) {
			x.Inward = probe.Inward{Passes: true}
			x.Outward = probe.Outward{MTU: 700, Vanish: true, After: 2, Before: 3}
		}, " between 10.9.0.2 and 198.51.100.7", "198.51.100.7:443"},
		"a router says so": {func(x *ProbedPath) {
			x.Inward = probe.Inward{Offered: 1460, Possible: 1360, Fails: 1367}
			x.Outward = probe.Outward{MTU: 1400, Named: 1400, By: netip.MustParseAddr("192.0.2.1")}
		}, " at router 192.0.2.1, MTU 1400", "10.9.0.2"},
		"inward only": {func(x *ProbedPath) {
			x.Inward = probe.Inward{Offered: 1460, Possible: 660, Fails: 667}
			x.Outward = probe.Outward{MTU: 1500}
		}, "", ""},
	} {
		x := probed("10.88.0.1", "192.0.2.1", "10.9.0.2")
		c.change(x)
		if got := p.narrow(x); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		for _, s := range p.path(x).Stations {
			if s.Narrowest != (s.Name == c.marked) {
				t.Errorf("%s: station %+v", name, s)
			}
		}
	}
}
