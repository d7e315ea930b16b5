package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// egressUnanswered finds egress addresses that routers look for on an uplink by ARP or
// neighbor discovery, and for which the node does not answer there. An address outside the
// subnets of the uplinks is routed to the node, and nothing is asked for.
var egressUnanswered = Check{
	ID:       "egress-unanswered",
	Title:    "The node does not answer ARP or neighbor discovery for an egress address",
	Severity: report.SeverityWarning,
	Reads:    "snatAddresses of active policies, addresses and subnets of uplinks, net.ipv4.conf.*.arp_ignore, proxy neighbors",
	Applies:  "an egress address is on an interface without ARP, such as lo, and in the subnet of an uplink",
	Remedy:   "Move the address to the uplink.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		egress, err := n.egressAddresses()
		if err != nil || len(egress) == 0 {
			return nil, err
		}
		addresses, err := n.addresses()
		if err != nil {
			return nil, err
		}
		interfaces, err := n.interfaces()
		if err != nil {
			return nil, err
		}
		var out []Finding
		for _, e := range egress {
			hops, err := n.nextHops(masq.FamilyOf(e))
			if err != nil {
				return out, err
			}
			// An interface with ARP may be on the same link as the uplink, and answer there.
			if slices.ContainsFunc(addresses, func(a veth.InterfaceAddress) bool { return a.Addr() == e && interfaces[a.Index].Neighbors }) {
				continue
			}
			holder := slices.IndexFunc(addresses, func(a veth.InterfaceAddress) bool { return a.Addr() == e })
			if holder < 0 {
				continue // egress-missing, or a local route
			}
			for _, a := range addresses {
				uplink := interfaces[a.Index]
				isUplink := slices.ContainsFunc(hops, func(h veth.NextHop) bool { return h.Index == a.Index })
				if !isUplink || !uplink.Neighbors || a.IsSingleIP() || !a.Masked().Contains(e) {
					continue
				}
				evidence, err := n.unanswered(e, uplink)
				if err != nil {
					return out, err
				}
				if evidence != nil {
					out = append(out, egressFinding(e, interfaces[addresses[holder].Index].Name, a, uplink.Name, *evidence))
					break
				}
			}
		}
		return out, nil
	},
}

// egressAddresses returns the egress addresses of active policies. It skips addresses that
// are routed to the node.
func (n *Node) egressAddresses() (out []netip.Addr, err error) {
	policies, err := n.policies()
	for _, p := range policies {
		for _, a := range p.SNATAddresses {
			if !slices.Contains(p.SNATRouted, a) && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out, err
}

// unanswered returns why the kernel does not answer for an address of another interface at
// an uplink, or nil if it answers. For IPv4 it answers for each address of the node unless
// arp_ignore is set (arp_ignore in net/ipv4/arp.c). For IPv6 it answers for the addresses of
// the interface, and for proxy neighbors with proxy_ndp (ndisc_recv_ns in net/ipv6/ndisc.c).
func (n *Node) unanswered(a netip.Addr, uplink veth.Interface) (*Evidence, error) {
	if a.Is4() {
		for _, name := range []string{uplink.Name, "all"} { // the larger value applies
			key := confKey(masq.IPv4, name, "arp_ignore")
			s, err := n.sysctl(key)
			if err != nil {
				return nil, err
			}
			// 3 depends on the scope of the address, 4 to 7 are reserved.
			if v, err := strconv.Atoi(s); err == nil && (v == 1 || v == 2 || v == 8) {
				e := n.sysctlEvidence(key)
				return &e, nil
			}
		}
		return nil, nil
	}
	proxied, err := queryLinks(n, fmt.Sprintf("proxy %s at %d", a, uplink.Index), func(c *veth.Conn) (bool, error) { return c.HasProxy(a, uplink.Index) })
	if err != nil || proxied {
		return nil, err
	}
	return &Evidence{"proxy neighbors of interface " + uplink.Name, "none for " + a.String()}, nil
}

func egressFinding(a netip.Addr, holder string, subnet veth.InterfaceAddress, uplink string, evidence Evidence) Finding {
	return Finding{
		Severity: report.SeverityWarning,
		Object:   "egress address " + a.String(),
		Message:  fmt.Sprintf("is on interface %s, and the node does not answer for it on uplink %s, whose subnet contains it", holder, uplink),
		Evidence: []Evidence{
			{"interface of " + a.String(), holder},
			{"address of interface " + uplink, subnet.String()},
			evidence,
		},
		Why: "The router asks on this link for the address. Without an answer it drops the replies to containers.",
		Remedy: Remedy{
			Text: "move the address to the uplink; if the router has a route for it to this node, list it in snatAddressesRouted",
			Commands: []string{
				fmt.Sprintf("ip address add %s dev %s", netip.PrefixFrom(a, a.BitLen()), report.ShellQuote(uplink)),
				fmt.Sprintf("ip address del %s dev %s", netip.PrefixFrom(a, a.BitLen()), report.ShellQuote(holder)),
			},
		},
	}
}
