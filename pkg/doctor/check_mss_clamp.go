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

// mssClamp compares the segment size that containers offer with the paths that the node
// knows. With "pmtu" the kernel lowers the size to the MTU of the route, which includes the
// learned MTU, so only policies without it can offer too much.
var mssClamp = Check{
	ID:       "mss-clamp",
	Title:    "The MSS of containers is larger than a path allows, and the policy does not lower it enough",
	Severity: report.SeverityWarning,
	Reads:    "mssClamp and mssClamps of active policies, local MSS clamps, MTU of uplinks, default routes and links of containers, path MTU that routers have reported (route exceptions)",
	Applies:  "mssClamp is off, or a number",
	Remedy:   "Set mssClamp to pmtu, or add a local clamp: masq-cni clamp add.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		groups, err := n.clampGroups()
		if err != nil {
			return nil, err
		}
		var out []Finding
		for _, g := range groups {
			paths, err := n.narrowPaths(g)
			if err != nil {
				return out, err
			}
			if len(paths) > 0 {
				out = append(out, n.mssClampFinding(g, paths))
			}
		}
		return out, nil
	},
}

// clampGroup are the attachments with one policy, in one family, that offer a segment size
// which does not depend on the path.
type clampGroup struct {
	policy  masq.Policy
	family  masq.Family
	records []store.Record
	mtu     int // the largest of their links
}

// offered returns the largest MSS that leaves the node.
func (g *clampGroup) offered() int {
	mss := g.mtu - headers(g.family)
	if n := g.policy.MSSClamp.Bytes(); n > 0 {
		mss = min(mss, n)
	}
	return mss
}

// headers returns the bytes of the IP and TCP headers without options.
func headers(f masq.Family) int {
	if f == masq.IPv4 {
		return 40
	}
	return 60
}

func (n *Node) clampGroups() (out []*clampGroup, err error) {
	policies, err := n.policies()
	if err != nil {
		return nil, err
	}
	type key struct {
		policy string
		family masq.Family
	}
	groups := map[key]*clampGroup{}
	for i, r := range n.masqueraded() {
		p := policies[i]
		if !p.MSSClamp.Off() && p.MSSClamp.Bytes() == 0 {
			continue
		}
		mtu, err := n.linkMTU(&r)
		if err != nil {
			return nil, err
		}
		id := p.ID()
		for _, f := range masq.Families {
			if !hasAddressOf(&r, f) {
				continue
			}
			g := groups[key{id, f}]
			if g == nil {
				g = &clampGroup{policy: p, family: f}
				groups[key{id, f}] = g
				out = append(out, g)
			}
			g.records, g.mtu = append(g.records, r), max(g.mtu, mtu)
		}
	}
	return out, nil
}

// narrowPath is a path on which the offered segments do not fit.
type narrowPath struct {
	to     netip.Prefix // the destinations
	by     string       // "the path by uplink eth0", "the path to 198.51.100.7"
	mss    int          // the largest that fits
	mtu    int
	source string // where the MTU was read
}

// clamped reports whether mssClamps lower the MSS of all connections to the destinations of a
// path to a size that the path can carry.
func (g *clampGroup) clamped(p narrowPath) bool {
	next := p.to.Addr() // the first address that no clamp covers
	for _, r := range g.policy.MSSRanges(g.family) {
		if int(r.MSS) > p.mss || r.Last.Less(next) {
			continue
		}
		if next.Less(r.First) {
			return false
		}
		if r.Last.Compare(masq.LastAddr(p.to)) >= 0 {
			return true
		}
		next = r.Last.Next()
	}
	return false
}

// narrowPaths returns the paths that are too narrow for a group, the narrowest first.
func (n *Node) narrowPaths(g *clampGroup) (out []narrowPath, err error) {
	hops, err := n.bestNextHops(g.family)
	if err != nil {
		return nil, err
	}
	for _, h := range hops {
		p := narrowPath{to: veth.DefaultRoute(g.family), by: "the path by uplink " + h.Interface, mtu: h.InterfaceMTU, source: "MTU of interface " + h.Interface}
		if h.RouteMTU > 0 && h.RouteMTU < p.mtu {
			p.mtu, p.source = h.RouteMTU, "MTU of "+routeSource(h)+", "+routeName(h)
		}
		out = append(out, p)
	}
	learned, err := queryLinks(n, "learned MTU "+g.family.String(), func(c *veth.Conn) ([]veth.PathMTU, error) { return c.LearnedMTUs(g.family) })
	if err != nil {
		return nil, err
	}
	direct := g.policy.DirectRanges(g.family)
	for _, l := range learned {
		a := l.Destination.Addr()
		if !direct.Contains(a) {
			out = append(out, narrowPath{to: netip.PrefixFrom(a, a.BitLen()), by: "the path to " + a.String(), mtu: l.MTU, source: "path MTU to " + a.String() + ", reported by a router"})
		}
	}
	for i := range out {
		out[i].mss = out[i].mtu - headers(g.family)
	}
	out = slices.DeleteFunc(out, func(p narrowPath) bool { return g.offered() <= p.mss || g.clamped(p) })
	slices.SortStableFunc(out, func(a, b narrowPath) int { return a.mtu - b.mtu })
	return out, nil
}

func (n *Node) mssClampFinding(g *clampGroup, paths []narrowPath) Finding {
	does := "does not lower the MSS"
	if g.policy.MSSClamp.Bytes() > 0 {
		does = "lowers the MSS to " + g.policy.MSSClamp.String()
	}
	x := Finding{
		Severity: report.SeverityWarning,
		Object:   "policy " + g.policy.ID(),
		Message:  fmt.Sprintf("%s: its containers offer %d bytes by IPv%s, and %s allows %d", does, g.offered(), g.family, paths[0].by, paths[0].mss),
		Evidence: []Evidence{
			{"mssClamp of policy " + g.policy.ID(), g.policy.MSSClamp.String()},
			{"MTU of the link of " + podsOf(g.records), fmt.Sprint(g.mtu)},
		},
		Why: "The far end sends segments that do not fit the path. If a router or firewall drops the ICMP error about them, the connection freezes.",
	}
	where := "the configuration of the network"
	if g.policy.Node {
		where = "the node's configuration"
	}
	x.Remedy.Text = `set "mssClamp": "pmtu" in ` + where + "; until then, lower the MSS to these destinations"
	fix := &Fix{}
	const most = 3
	for i, p := range paths {
		if p.mss < masq.ClampMin {
			continue
		}
		if i < most {
			x.Evidence = append(x.Evidence, Evidence{p.source, fmt.Sprint(p.mtu)})
			x.Remedy.Commands = append(x.Remedy.Commands, fmt.Sprintf("masq-cni clamp add %s %d", p.to, p.mss))
		}
		fix.Undo = append(fix.Undo, "masq-cni clamp delete "+p.to.String())
	}
	if n.SetClamp != nil {
		fix.Does = fmt.Sprintf("lowers the MSS of connections to %s to %d", paths[0].to, paths[0].mss)
		if len(paths) > 1 {
			fix.Does += ", and to " + report.Plural(len(paths)-1, "other destination") + " as far as its path needs"
		}
		fix.Apply = func(ctx context.Context) error {
			for _, p := range paths {
				if p.mss < masq.ClampMin {
					continue
				}
				if err := n.SetClamp(ctx, p.to, p.mss); err != nil {
					return err
				}
			}
			return nil
		}
		x.Remedy.Fix = fix
	}
	return x
}
