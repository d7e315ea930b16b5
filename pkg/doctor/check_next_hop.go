package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

var nextHopUnresolved = Check{
	ID:       "next-hop-unresolved",
	Title:    "The next hop of a default route does not answer ARP or neighbor discovery",
	Severity: report.SeverityError,
	Reads:    "default routes, neighbor entries of their next hops",
	Applies:  "containers of the family are masqueraded, and packets were sent to the next hop within the last five minutes",
	Remedy:   "Check the link to the router, and the address of the next hop.",
	Cost:     Cheap,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		var out []Finding
		for _, f := range masq.Families {
			records := withFamily(n.masqueraded(), f)
			if len(records) == 0 {
				continue
			}
			hops, err := n.nextHops(f)
			if err != nil {
				return out, err
			}
			for _, h := range hops {
				if !h.Gateway.IsValid() {
					continue
				}
				s, err := queryLinks(n, fmt.Sprintf("neighbor %s at %d", h.Gateway, h.Index), func(c *veth.Conn) (veth.NeighborState, error) {
					return c.NeighborState(ctx, h.Gateway, h.Index)
				})
				if err != nil {
					return out, err
				}
				if !s.Unresolved() {
					continue
				}
				x := nextHopFinding(h, s)
				x.Why = "Packets of " + podsOf(records) + " by this route are dropped: host unreachable."
				out = append(out, x)
			}
		}
		return out, nil
	},
}

func nextHopFinding(h veth.NextHop, s veth.NeighborState) Finding {
	protocol := "ARP"
	if h.Family == masq.IPv6 {
		protocol = "neighbor discovery"
	}
	x := Finding{
		Severity: report.SeverityWarning, // another route is preferred
		Object:   "next hop " + h.Gateway.String(),
		Message:  "does not answer " + protocol + " on interface " + h.Interface,
		Evidence: []Evidence{
			{"neighbor " + h.Gateway.String() + " dev " + h.Interface, fmt.Sprintf("%s, last packet %d s ago", s, s.Unused/time.Second)},
			{routeSource(h), routeName(h)},
		},
		Remedy: Remedy{
			Text:     "check that the router is up and on this link, and that the route names its address",
			Commands: []string{"ip neigh show dev " + report.ShellQuote(h.Interface), "ip -s link show dev " + report.ShellQuote(h.Interface)},
		},
	}
	if h.Best {
		x.Severity = report.SeverityError
	}
	return x
}
