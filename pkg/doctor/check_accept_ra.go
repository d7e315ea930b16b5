package doctor

import (
	"context"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// acceptRA finds uplinks whose IPv6 default route comes from router advertisements that the
// kernel ignores: with forwarding, it accepts them only if accept_ra is 2 (ipv6_accept_ra in
// include/net/ipv6.h). Programs that handle advertisements themselves set accept_ra to 0.
var acceptRA = Check{
	ID:       "accept-ra",
	Title:    "Router advertisements are ignored because of forwarding",
	Severity: report.SeverityError,
	Reads:    "net.ipv6.conf.*.forwarding and accept_ra and accept_ra_defrtr of uplinks, IPv6 default routes and addresses from router advertisements",
	Applies:  "containers have IPv6 addresses",
	Remedy:   "Set net.ipv6.conf.UPLINK.accept_ra to 2.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		if len(withFamily(n.masqueraded(), masq.IPv6)) == 0 {
			return nil, nil
		}
		hops, err := n.nextHops(masq.IPv6)
		if err != nil {
			return nil, err
		}
		var out []Finding
		seen := map[string]bool{}
		for _, h := range hops {
			if !h.RA || seen[h.Interface] || !n.ignoresRA(h.Interface) {
				continue
			}
			seen[h.Interface] = true
			x := n.acceptRAFinding(h.Interface, "the default route expires, and from then on packets of containers to IPv6 destinations have no route.")
			x.Message = "ignores router advertisements, and its IPv6 default route comes from one"
			x.Severity = report.SeverityWarning
			x.Evidence = append(x.Evidence, Evidence{routeSource(h), routeName(h) + " proto ra"})
			out = append(out, x)
		}
		lost, err := n.lostRoutes()
		for _, a := range lost {
			x := n.acceptRAFinding(a.name, "packets of containers to IPv6 destinations have no route.")
			x.Message = "ignores router advertisements, and the node has no IPv6 default route"
			x.Evidence = append(x.Evidence, Evidence{"address of interface " + a.name + " from a router advertisement", a.String()})
			out = append(out, x)
		}
		return out, err
	},
}

func (n *Node) acceptRAFinding(iface, why string) Finding {
	forwarding, accept := confKey(masq.IPv6, iface, "forwarding"), confKey(masq.IPv6, iface, "accept_ra")
	return Finding{
		Severity: report.SeverityError,
		Object:   "uplink " + iface,
		Evidence: []Evidence{n.sysctlEvidence(forwarding), n.sysctlEvidence(accept)},
		Why:      "With forwarding, the kernel accepts router advertisements only if accept_ra is 2: " + why,
		Remedy: Remedy{
			Text:     "accept advertisements in spite of forwarding; the router's next one, within minutes, restores or extends the route",
			Commands: []string{setSysctl(accept, "2")},
		},
	}
}

// ignoresRA reports whether the kernel would accept default routers from advertisements at
// an interface if it did not forward. A program that handles advertisements itself disables
// one of these settings.
func (n *Node) ignoresRA(iface string) bool {
	setting := func(name string) string {
		s, _ := n.sysctl(confKey(masq.IPv6, iface, name))
		return s
	}
	return setting("forwarding") == "1" && setting("accept_ra") == "1" && setting("accept_ra_defrtr") != "0"
}

// lostRoutes returns addresses that the kernel made from router advertisements at interfaces
// that now ignore them, if the node has no IPv6 default route: when forwarding is enabled,
// the kernel deletes the default routes from advertisements (rt6_purge_dflt_routers).
func (n *Node) lostRoutes() (out []namedAddress, err error) {
	hops, err := n.nextHops(masq.IPv6)
	if err != nil || len(hops) > 0 {
		return nil, err
	}
	all, err := n.addresses()
	if err != nil {
		return nil, err
	}
	interfaces, err := n.interfaces()
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		name := interfaces[a.Index].Name
		known := slices.ContainsFunc(out, func(o namedAddress) bool { return o.name == name })
		if a.RA && !known && !uniqueLocal.Contains(a.Addr()) && n.ignoresRA(name) {
			out = append(out, namedAddress{a.Prefix, name})
		}
	}
	return out, nil
}
