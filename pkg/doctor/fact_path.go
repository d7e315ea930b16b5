package doctor

import (
	"context"
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/probe"
)

// path returns the way of the probe's packets, or nil without a probe. If two families were
// probed, it is the way of the family that has a fault, or else of the first.
func (n *Node) path(ctx context.Context) *Path {
	p, err := n.Probe(ctx)
	if p == nil || err != nil {
		return nil
	}
	shown := &p.Paths[0]
	for i := len(p.Paths) - 1; i >= 0; i-- {
		if x := &p.Paths[i]; x.Err == nil && (x.Connection.State != probe.Connected || x.Outward.Vanish || !x.Inward.Passes && x.Inward.NotChecked == "") {
			shown = x
		}
	}
	return p.path(shown)
}

func (p *ProbeFacts) path(x *ProbedPath) *Path {
	var out Path
	add := func(s Station) { out.Stations = append(out.Stations, s) }
	if p.Record != nil {
		add(Station{Kind: ContainerInterface, Name: x.Route.Interface, Detail: x.Route.Source.String(), MTU: x.Route.LinkMTU, MSS: x.Connection.OfferedMSS})
		if x.HostLink.Interface != "" {
			add(Station{Kind: HostLink, Name: x.HostLink.Interface, MTU: x.HostLink.LinkMTU})
		}
	}
	if r := p.request(x); r != nil {
		for _, s := range stations(r) {
			add(s)
		}
	}
	if x.NodeRouteErr == nil {
		s := Station{Kind: UplinkInterface, Name: x.Uplink.Interface, MTU: x.Uplink.LinkMTU}
		if x.Flow != nil && x.Flow.Translated() {
			s.Detail = "source becomes " + x.Flow.Egress().Addr().String()
		}
		add(s)
	}
	routers := x.Hops.Routers
	if len(routers) > p.nodeHops() {
		routers = routers[p.nodeHops():]
	} else {
		routers = nil
	}
	if x.Uplink.Gateway.IsValid() {
		s := Station{Kind: NextHop, Name: x.Uplink.Gateway.String()}
		if len(routers) > 0 && routers[0].Address.IsValid() {
			s.RTT = routers[0].RTT.Seconds()
			if a := routers[0].Address; a != x.Uplink.Gateway {
				s.Detail = "answers as " + a.String()
			}
			routers = routers[1:]
		} else if len(routers) > 0 {
			s.Detail = "does not answer"
			routers = routers[1:]
		}
		p.passes(x, &s, p.nodeHops())
		add(s)
	}
	first := len(x.Hops.Routers) - len(routers)
	for i, h := range routers {
		s := Station{Kind: Hop, Name: "?", Detail: "does not answer", RTT: h.RTT.Seconds()}
		if h.Address.IsValid() {
			s.Name, s.Detail = h.Address.String(), ""
		}
		p.passes(x, &s, first+i)
		add(s)
	}
	s := Station{Kind: Destination, Name: x.Target.Address.String(), Detail: string(x.Connection.State), RTT: x.Hops.RTT.Seconds()}
	if s.RTT == 0 {
		s.RTT = x.Connection.RTT.Seconds()
	}
	p.passes(x, &s, len(x.Hops.Routers))
	s.Lost = answersEnded(p.ended(x))
	add(s)
	out.mark()
	if x.Connection.State == probe.Unanswered && len(p.ended(x)) == 0 {
		p.markLost(x, &out)
	}
	return &out
}

// passes sets the MTU of a station beyond the node if the link to it is the narrow one. router
// is the station's index among the routers.
func (p *ProbeFacts) passes(x *ProbedPath, s *Station, router int) {
	o := x.Outward
	switch {
	case o.Vanish && router == o.Before && router > 0:
		s.MTU = o.MTU
	case o.Named > 0 && router > 0 && router <= len(x.Hops.Routers) && x.Hops.Routers[router-1].Address == o.By && router > p.nodeHops():
		s.MTU = o.Named // the router before it says so
	}
}

// mark marks the station with the smallest MTU, if another has a larger one.
func (p *Path) mark() {
	least, most := -1, 0
	for i, s := range p.Stations {
		if s.MTU == 0 {
			continue
		}
		most = max(most, s.MTU)
		if least < 0 || s.MTU < p.Stations[least].MTU {
			least = i
		}
	}
	if least >= 0 && p.Stations[least].MTU < most {
		p.Stations[least].Narrowest = true
	}
}

// markLost marks the last station that the packets were seen at.
func (p *ProbeFacts) markLost(x *ProbedPath, out *Path) {
	_, next := p.lastPoint(x)
	at := len(out.Stations) - 1
	router := x.Hops.LastAnswer()
	for i, s := range out.Stations {
		switch {
		case x.Hops.Reached:
		case router >= p.nodeHops():
			// Stations of routers follow the uplink, in the same order.
			if s.Kind == UplinkInterface {
				at = min(i+1+router-p.nodeHops(), at)
			}
		case x.Flow != nil || p.Record == nil:
			if s.Kind == UplinkInterface {
				at = i
			}
		case router >= 0:
			if s.Kind == HostLink {
				at = i
			}
		default:
			at = 0
		}
	}
	out.Stations[at].Lost = fmt.Sprintf("packets do not get to %s", next)
}
