package doctor

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// overlappingRoute finds routes of the node, such as a VPN's, to a part of a network's subnet.
// It reads all routes, of which a router can have a million.
var overlappingRoute = Check{
	ID:       "overlapping-route",
	Title:    "A route of the node leads addresses of containers to a gateway",
	Severity: report.SeverityWarning,
	Reads:    "subnets of networks in the records, routes of the main table",
	Applies:  "networks whose links masq makes; routes through a gateway to a part of their subnet that contains a container",
	Remedy:   "Give the network a subnet that nothing else uses, or remove the route.",
	Cost:     Full,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		subnets := networkSubnets(n.ready())
		var out []Finding
		var errs []error
		for _, f := range masq.Families {
			routes, err := n.routesInto(f, subnets)
			errs = append(errs, err)
			for _, r := range routes {
				for _, s := range subnets {
					if all := s.within(r.Destination); len(all) > 0 {
						out = append(out, s.routeFinding(f, r, all))
					}
				}
			}
		}
		return out, errors.Join(errs...)
	},
}

// routesInto returns the routes through a gateway to a subnet, or to a part of it.
func (n *Node) routesInto(f masq.Family, subnets []networkSubnet) (out []veth.Route, err error) {
	if !slices.ContainsFunc(subnets, func(s networkSubnet) bool { return masq.FamilyOf(s.prefix.Addr()) == f }) {
		return nil, nil
	}
	return queryLinks(n, "routes into subnets "+f.String(), func(c *veth.Conn) (out []veth.Route, err error) {
		return out, c.EachRoute(f, func() { out = nil }, func(r veth.Route) {
			if r.Table != unix.RT_TABLE_MAIN || !r.Gateway.IsValid() || r.Destination.IsSingleIP() {
				return
			}
			// A route to a larger subnet leads to the containers of other nodes.
			if slices.ContainsFunc(subnets, func(s networkSubnet) bool {
				return r.Destination.Bits() >= s.prefix.Bits() && s.prefix.Overlaps(r.Destination)
			}) {
				out = append(out, r)
			}
		})
	})
}

// within returns the containers of a network with an address in a part of its subnet. A part
// without one can belong to another node.
func (s *networkSubnet) within(p netip.Prefix) (out []store.Record) {
	if p.Bits() < s.prefix.Bits() {
		return nil
	}
	for _, r := range s.records {
		if slices.ContainsFunc(r.Prefixes, func(own netip.Prefix) bool { return p.Contains(own.Addr()) }) {
			out = append(out, r)
		}
	}
	return out
}

func (s *networkSubnet) routeFinding(f masq.Family, r veth.Route, all []store.Record) Finding {
	ip := "ip route"
	if f == masq.IPv6 {
		ip = "ip -6 route"
	}
	return Finding{
		Severity: report.SeverityWarning,
		Object:   "network " + s.network,
		Message:  "has the subnet " + s.prefix.String() + ", and the node has a route to " + r.Destination.String() + " via " + r.Gateway.String(),
		Evidence: []Evidence{
			{"subnet of " + podsOf(all), s.prefix.String()},
			{"IPv" + f.String() + " routes", r.Destination.String() + " via " + r.Gateway.String()},
		},
		Why: "A host behind the gateway can have the address of a container. The node then sends the host's packets to the container.",
		Remedy: Remedy{
			Text:     "give the network another subnet, and recreate its containers; or remove the route",
			Commands: []string{ip + " show " + r.Destination.String()},
		},
	}
}
