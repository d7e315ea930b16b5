package doctor

import (
	"context"
	"fmt"
	"maps"
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
	Remedy:   "Correct the configuration of the plugin that made the link, and restart the pod.",
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
			f.Why = fmt.Sprintf("Its IPv%s packets to other networks fail at once: network is unreachable.", d.Family)
			f.Remedy.Text = fmt.Sprintf("add a route to the configuration of the plugin that makes the link (with host-local: \"routes\": [{\"dst\": \"%s\"}] in ipam), and restart the pod", veth.DefaultRoute(d.Family))
		case d.Found && d.Index == in.Index && d.Neighbor.Unresolved():
			f.Message = fmt.Sprintf("gets no answer from its gateway %s", d.Gateway)
			f.Evidence = []Evidence{
				{routes, fmt.Sprintf("default via %s dev %s", d.Gateway, r.Interface)},
				{"neighbor " + d.Gateway.String() + " in " + r.NetNS, d.Neighbor.String()},
			}
			f.Why = "Its packets to other networks do not leave the container."
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

var containerMTU = Check{
	ID:       "container-mtu",
	Title:    "The MTU of a container is larger than the MTU of the other end of its link",
	Severity: report.SeverityError,
	Reads:    "MTU of both ends of the containers' links",
	Applies:  "another plugin made the link (chained mode); masq-cni inspect compares links of main mode",
	Remedy:   "Give both ends the same MTU.",
	Cost:     Full,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		facts, err := n.containerFacts(ctx)
		if err != nil {
			return nil, err
		}
		peers := map[int]int{} // index of the node's end, by attachment
		for i, in := range facts.inOrder() {
			r := &n.AllRecords[i]
			isPeer := func(l masq.HostLink) bool { return l.Index == in.Peer }
			if r.Chained && in.Peer != 0 && r.Evidence != nil && slices.ContainsFunc(r.Evidence.Links, isPeer) {
				peers[i] = in.Peer
			}
		}
		if len(peers) == 0 {
			return nil, facts.check()
		}
		mtus, err := nodeMTUs(slices.Collect(maps.Values(peers)))
		if err != nil {
			return nil, err
		}
		var out []Finding
		for i, in := range facts.inOrder() {
			if mtu, ok := mtus[peers[i]]; ok && in.MTU > mtu {
				out = append(out, mtuFinding(&n.AllRecords[i], in, mtu))
			}
		}
		return out, facts.check()
	},
}

func nodeMTUs(indexes []int) (map[int]int, error) {
	c, err := veth.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	return c.MTUs(indexes)
}

func mtuFinding(r *store.Record, in veth.Interior, mtu int) Finding {
	name := r.Evidence.Links[slices.IndexFunc(r.Evidence.Links, func(l masq.HostLink) bool { return l.Index == in.Peer })].Name
	return Finding{
		Severity: report.SeverityError,
		Object:   "container " + report.OwnerOf(r.Attachment).Pod(),
		Message:  fmt.Sprintf("has an interface with MTU %d, and the node's end of the link has MTU %d", in.MTU, mtu),
		Evidence: []Evidence{
			{"MTU of " + r.Interface + " in " + r.NetNS, fmt.Sprint(in.MTU)},
			{"MTU of " + name, fmt.Sprint(mtu)},
		},
		// is_skb_forwardable in net/core/dev.c.
		Why: fmt.Sprintf("The kernel silently drops packets of the container with more than %d bytes, unless it segments them later (GSO): datagrams are lost, and connections stall.", mtu),
		Remedy: Remedy{
			Text:     "give both ends the same MTU, here until the pod restarts, and in the configuration of the plugins that set them (mtu, tuning)",
			Commands: []string{fmt.Sprintf("ip link set dev %s mtu %d", report.ShellQuote(name), in.MTU)},
		},
	}
}
