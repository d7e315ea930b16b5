package doctor

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

var noDefaultRoute = Check{
	ID:       "no-default-route",
	Title:    "The node has no default route",
	Severity: report.SeverityError,
	Reads:    "routes of all tables that routing rules lead to, addresses of interfaces",
	Applies:  "containers of the family are masqueraded, the node has a global address of the family, and no route through a gateway",
	Remedy:   "Restore the default route: ip route add default via GATEWAY.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		var out []Finding
		var errs []error
		for _, f := range masq.Families {
			x, err := n.defaultRouteFinding(f)
			errs = append(errs, err)
			if x != nil {
				out = append(out, *x)
			}
		}
		return out, errors.Join(errs...)
	},
}

func (n *Node) defaultRouteFinding(f masq.Family) (*Finding, error) {
	records := withFamily(n.masqueraded(), f)
	if len(records) == 0 {
		return nil, nil
	}
	if hops, err := n.nextHops(f); err != nil || len(hops) > 0 {
		return nil, err
	}
	if lost, err := n.lostRoutes(); f == masq.IPv6 && (err != nil || len(lost) > 0) {
		return nil, err // acceptRA names the cause
	}
	own, err := n.uplinkAddresses(f)
	if err != nil || len(own) == 0 {
		return nil, err
	}
	// Nodes of an isolated network have routes to its other parts, and no default route.
	gateways, err := queryLinks(n, "gateways "+f.String(), func(c *veth.Conn) (count int, err error) {
		return count, c.EachRoute(f, func() { count = 0 }, func(r veth.Route) {
			if r.Gateway.IsValid() {
				count++
			}
		})
	})
	if err != nil || gateways > 0 {
		return nil, err
	}
	family := "IPv" + f.String()
	ip := "ip route"
	if f == masq.IPv6 {
		ip = "ip -6 route"
	}
	x := &Finding{
		Severity: report.SeverityError,
		Object:   "the node",
		Message:  "has no " + family + " default route",
		Evidence: []Evidence{
			{family + " routes", "no default route, and no other route through a gateway"},
		},
		Why: "Packets of " + podsOf(records) + " to destinations outside the node's own links are refused: no route to host.",
		Remedy: Remedy{
			Text:     "restore the default route of the node's network configuration, such as",
			Commands: []string{ip + " add default via GATEWAY"},
		},
	}
	for _, a := range own {
		x.Evidence = append(x.Evidence, Evidence{"address of interface " + a.name, a.String()})
	}
	return x, nil
}

// namedAddress is an address, and the name of its interface.
type namedAddress struct {
	netip.Prefix
	name string
}

// uniqueLocal is fc00::/7 (RFC 4193). Many networks have such addresses, and no way out of
// the site for them.
var uniqueLocal = netip.MustParsePrefix("fc00::/7")

// uplinkAddresses returns the addresses of a family that show that the node is connected by
// this family. It skips links of containers. IPv6 addresses count only at an uplink of IPv4,
// or if the node has no IPv4 uplink.
func (n *Node) uplinkAddresses(f masq.Family) (out []namedAddress, err error) {
	all, err := n.addresses()
	if err != nil {
		return nil, err
	}
	interfaces, err := n.interfaces()
	if err != nil {
		return nil, err
	}
	links, err := n.containerLinks()
	if err != nil {
		return nil, err
	}
	var uplinks []veth.NextHop
	if f == masq.IPv6 {
		if uplinks, err = n.nextHops(masq.IPv4); err != nil {
			return nil, err
		}
	}
	for _, a := range all {
		i := interfaces[a.Index]
		switch {
		case masq.FamilyOf(a.Addr()) != f, uniqueLocal.Contains(a.Addr()), a.IsSingleIP():
		case i.Managed || !i.Neighbors:
		case slices.Contains(valuesOf(links), a.Index): // a bridge of containers
		case len(uplinks) > 0 && !slices.ContainsFunc(uplinks, func(h veth.NextHop) bool { return h.Index == a.Index }):
		default:
			out = append(out, namedAddress{a.Prefix, i.Name})
		}
	}
	return out, nil
}

func valuesOf(m map[netip.Addr]int) []int {
	out := make([]int, 0, len(m))
	for _, v := range m {
		out = append(out, v)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
