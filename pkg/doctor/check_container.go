package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

var containerDefaultRoute = Check{
	ID:       "container-default-route",
	Title:    "A container has no default route, or its gateway does not answer",
	Severity: report.SeverityError,
	Reads:    "routes and neighbors in the containers",
	Applies:  "another plugin made the link (chained mode), and the container is masqueraded",
	Remedy:   "correct the configuration of the plugin that made the link, and restart the pod",
	Cost:     Full,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		facts, err := n.containerFacts(ctx)
		if err != nil {
			return nil, err
		}
		var out []Finding
		for i, in := range facts.inOrder() {
			r := &n.AllRecords[i]
			if r.Chained && r.Policy != nil && in.Index != 0 {
				out = append(out, routeFindings(r, in)...)
			}
		}
		return out, facts.check()
	},
}

// routeFindings returns the faults of the default routes of a container. Routes to some networks
// by a gateway are no fault: the configuration may want no others.
func routeFindings(r *store.Record, in veth.Interior) (out []Finding) {
	object := "container " + report.OwnerOf(r.Attachment).Pod()
	reaches := slices.ContainsFunc(in.Defaults, func(d veth.RouteOut) bool { return d.Found })
	for _, d := range in.Defaults {
		f := Finding{Severity: report.SeverityError, Object: object}
		routes := fmt.Sprintf("IPv%s routes in %s", d.Family, r.NetNS)
		switch {
		case !d.Found && !hasOtherRoutes(r, in, d.Family):
			if reaches && d.Family == masq.IPv6 {
				f.Severity = report.SeverityWarning // applications try the other family
			}
			f.Message = fmt.Sprintf("has an IPv%s address and no default route of that family", d.Family)
			f.Evidence = []Evidence{{routes, "no default route, and no route to another network through " + r.Interface}, {"addresses of " + r.Interface, fmt.Sprint(r.Addresses)}}
			f.Why = fmt.Sprintf("its IPv%s packets to other networks fail at once: network is unreachable", d.Family)
			f.Remedy.Text = fmt.Sprintf("add a route to the configuration of the plugin that makes the link (with host-local: \"routes\": [{\"dst\": \"%s\"}] in ipam), and restart the pod", veth.DefaultRoute(d.Family))
		case d.Found && d.Index == in.Index && d.Unresolved:
			f.Message = fmt.Sprintf("gets no answer from its gateway %s", d.Gateway)
			f.Evidence = []Evidence{
				{routes, fmt.Sprintf("default via %s dev %s", d.Gateway, r.Interface)},
				{"neighbor " + d.Gateway.String() + " in " + r.NetNS, "FAILED"},
			}
			f.Why = "its packets to other networks do not leave the container"
			f.Remedy.Text = fmt.Sprintf("find out why no interface of the node, or of the network, has the address %s: the plugin that makes the link sets the gateway", d.Gateway)
			f.Remedy.Commands = []string{"ip -br address show to " + d.Gateway.String()}
		default:
			continue
		}
		out = append(out, f)
	}
	return out
}

// hasOtherRoutes reports whether a container has a route by a gateway to another network than
// its own, to which ptp makes such a route.
func hasOtherRoutes(r *store.Record, in veth.Interior, f masq.Family) bool {
	return slices.ContainsFunc(in.ByGateway, func(p netip.Prefix) bool {
		return masq.FamilyOf(p.Addr()) == f && !slices.ContainsFunc(r.Addresses, p.Contains)
	})
}
