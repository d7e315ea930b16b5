package doctor

import (
	"context"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// overlappingSubnets compares the subnets of networks with each other, and with the subnets
// of the node's interfaces. Networks of
// host-local with the same range give an address to two containers, because host-local keeps
// the leases of each network separately.
var overlappingSubnets = Check{
	ID:       "overlapping-subnets",
	Title:    "Subnets of containers overlap with each other, or with a subnet of the node",
	Severity: report.SeverityWarning,
	Reads:    "subnets of networks in the records, addresses of the node's interfaces",
	Applies:  "networks whose links masq makes",
	Remedy:   "Give each network a subnet that nothing else uses.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		subnets := networkSubnets(n.ready())
		out := overlapsOfNetworks(subnets)
		if len(subnets) == 0 {
			return nil, nil
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
			i := interfaces[a.Index]
			// Tunnels have addresses in the subnets that lie beyond them, and no hosts.
			if i.Managed || !i.Neighbors || a.IsSingleIP() {
				continue
			}
			for _, s := range subnets {
				// A larger subnet of the node is that of all nodes' containers, as in a cluster.
				if !s.prefix.Overlaps(a.Masked()) || a.Bits() < s.prefix.Bits() || n.proxiesARP(i.Name, masq.FamilyOf(a.Addr())) {
					continue
				}
				out = append(out, Finding{
					Severity: report.SeverityWarning,
					Object:   "network " + s.network,
					Message:  "has the subnet " + s.prefix.String() + ", and interface " + i.Name + " of the node is connected to " + a.Masked().String(),
					Evidence: []Evidence{
						{"subnet of " + podsOf(s.records), s.prefix.String()},
						{"address of interface " + i.Name, a.String()},
					},
					Why: "Hosts on that link and containers can have the same address: packets to one of them then go to the other.",
					Remedy: Remedy{
						Text:     "give the network another subnet, and recreate its containers",
						Commands: []string{"masq-cni inspect pods -o wide", "ip address show dev " + report.ShellQuote(i.Name)},
					},
				})
			}
		}
		return out, nil
	},
}

// proxiesARP reports whether the node answers on an interface for the containers, so that
// they can share its subnet.
func (n *Node) proxiesARP(iface string, f masq.Family) bool {
	name := "proxy_arp"
	if f == masq.IPv6 {
		name = "proxy_ndp"
	}
	own, _ := n.sysctl(confKey(f, iface, name))
	all, _ := n.sysctl(confKey(f, "all", name))
	return own == "1" || all == "1"
}

// networkSubnet is a subnet of a network whose links masq makes.
type networkSubnet struct {
	network string
	prefix  netip.Prefix
	ipam    string
	records []store.Record
}

// networkSubnets returns the subnets of networks, in the order of the records.
func networkSubnets(all []store.Record) (out []networkSubnet) {
	for _, r := range all {
		for _, p := range r.Prefixes {
			if p.IsSingleIP() || p.Addr().IsLinkLocalUnicast() {
				continue
			}
			i := slices.IndexFunc(out, func(s networkSubnet) bool { return s.network == r.Network && s.prefix == p.Masked() })
			if i < 0 {
				i = len(out)
				out = append(out, networkSubnet{network: r.Network, prefix: p.Masked(), ipam: r.IPAM})
			}
			out[i].records = append(out[i].records, r)
		}
	}
	return out
}

func overlapsOfNetworks(all []networkSubnet) (out []Finding) {
	for i, a := range all {
		for _, b := range all[:i] {
			if a.network == b.network || a.ipam != hostLocal || b.ipam != hostLocal || !a.prefix.Overlaps(b.prefix) {
				continue
			}
			out = append(out, Finding{
				Severity: report.SeverityWarning,
				Object:   "network " + a.network,
				Message:  "has the subnet " + a.prefix.String() + ", which overlaps with " + b.prefix.String() + " of network " + b.network,
				Evidence: []Evidence{
					{"subnet of " + podsOf(a.records), a.prefix.String()},
					{"subnet of " + podsOf(b.records), b.prefix.String()},
				},
				Why: "Each network has its own leases: both can lease the same address, and then ADD fails.",
				Remedy: Remedy{
					Text:     "give one of the networks another subnet, and recreate its containers",
					Commands: []string{"masq-cni inspect pods -o wide"},
				},
			})
		}
	}
	return out
}

// hostLocal is the type of the IPAM plugin with leases for each network.
const hostLocal = "host-local"
