package ruleset

import (
	"fmt"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// target is an egress address, or the address that the kernel chooses.
type target struct {
	addr netip.Addr // invalid for masquerade
}

func (t target) statement(ports string) string {
	switch {
	case !t.addr.IsValid() && ports == "":
		return "masquerade"
	case !t.addr.IsValid():
		return "masquerade to :" + ports
	case ports == "" || t.addr.Is4():
		if ports != "" {
			ports = ":" + ports
		}
		return "snat " + map[bool]string{true: "ip", false: "ip6"}[t.addr.Is4()] + " to " + t.addr.String() + ports
	default:
		return "snat ip6 to [" + t.addr.String() + "]:" + ports
	}
}

// egress returns the rules that translate to egress addresses. If the node has none of the
// addresses of a family that the policy names, the family's flows are dropped. With
// another address, peers would take them for flows of another client. Untranslated flows
// would expose the container's address.
func egress(p masq.Policy, have Egress) []Rule {
	sides := []side{{targets: []target{{}}}}
	if len(p.SNATAddresses) > 0 {
		// Only a rule of one family can name an address.
		sides = nil
		for _, f := range families {
			s := side{id: f.suffix, match: "meta nfproto " + f.nfproto + " ", listed: len(p.SNATAddressesOf(f.family)) > 0}
			for _, a := range have.Of(p, f.family) {
				s.targets = append(s.targets, target{a})
			}
			if !s.listed {
				s.targets = []target{{}}
			}
			sides = append(sides, s)
		}
	}
	random := ""
	if p.RandomFully {
		random = " fully-random"
	}
	var out []Rule
	for _, s := range sides {
		if len(s.targets) > 0 {
			out = append(out, s.ports(p, have.Reserved, random)...)
		}
		var all []outcome
		for _, t := range s.targets {
			all = append(all, outcome{t.statement("") + random, 1})
		}
		out = append(out, choose("policy/egress"+s.id, s.match, all, "flows to all other destinations are translated")...)
		if s.listed {
			// No packet reaches this rule while the node has an address. The rule always
			// exists, so that its counter is kept.
			out = append(out, Rule{noEgressID + s.id, s.match + "counter drop", "the node has none of the policy's egress addresses"})
		}
	}
	return out
}

// side is the part of a policy that one match selects: one family or both.
type side struct {
	id, match string
	targets   []target
	listed    bool // the policy names addresses of the family
}

// ports returns the rules that translate TCP, UDP and other protocols with ports to ports
// that are not reserved for the node.
//
// If a rule gives a range of ports, the kernel no longer keeps privileged source ports
// privileged (nf_nat_l4proto_unique_tuple in net/netfilter/nf_nat_core.c). rlogin, rsh and
// NFS need them, so source ports below 1024 get a separate range.
func (s side) ports(p masq.Policy, reserved []masq.PortRange, random string) []Rule {
	limit := max(1, min(maxFreeRanges, maxChoices/len(s.targets)))
	within := p.ToPorts
	if len(within) == 0 {
		within = unprivilegedPorts
	}
	free, cut := freePorts(within, reserved, max(limit, len(p.ToPorts)))
	privileged, _ := freePorts(privilegedPorts, reserved, limit)
	var out []Rule
	for _, proto := range portProtocols {
		if cut && !p.RandomFully {
			// The kernel keeps a source port that is free and within the range.
			for i, r := range free {
				out = append(out, choose(fmt.Sprintf("policy/kept%s-%s-%d", s.id, proto, i+1), s.match+proto+" sport "+r.String()+" ",
					s.outcomes([]masq.PortRange{r}, random), "a source port that is free and not reserved for the node is kept")...)
			}
		}
		if cut || len(p.ToPorts) > 0 {
			out = append(out, s.choose("ports", proto, ">=", s.outcomes(free, random),
				"ports that are not reserved for the node, of toPorts if it is set")...)
		}
		out = append(out, s.choose("privileged", proto, "<", s.outcomes(privileged, random),
			"servers may require a privileged source port; ports of the node's services are left out")...)
	}
	return out
}

// choose returns the rules for flows whose source port is below 1024 ("<") or not (">=").
// If no port is left for them, it returns a rule that drops them.
func (s side) choose(kind, proto, compare string, all []outcome, why string) []Rule {
	match := s.match + proto + " sport " + compare + " 1024 "
	if len(all) == 0 {
		return []Rule{{noPortID + kind + s.id + "-" + proto, match + "counter drop", "all ports of the policy are reserved for the node"}}
	}
	return choose("policy/"+kind+s.id+"-"+proto, match, all, why)
}

// outcomes returns a translation for each combination of an address and a range of ports.
func (s side) outcomes(ranges []masq.PortRange, random string) []outcome {
	var all []outcome
	for _, t := range s.targets {
		for _, r := range ranges {
			all = append(all, outcome{t.statement(r.String()) + random, r.Size()})
		}
	}
	return all
}

// outcome is one of several translations to choose from for each flow, and its weight.
type outcome struct {
	statement string
	weight    int
}

// choose returns rules that take one of several outcomes at random. Each rule takes its
// share of the remaining weight, so that the probability of an outcome is its share of the
// total weight.
func choose(id, match string, all []outcome, why string) []Rule {
	left := 0
	for _, o := range all {
		left += o.weight
	}
	var out []Rule
	for i, o := range all {
		r := Rule{id, match, why}
		if i > 0 {
			r.ID = fmt.Sprintf("%s.%d", id, i+1)
		}
		if i < len(all)-1 {
			r.Text += fmt.Sprintf("numgen random mod %d < %d ", left, o.weight)
		}
		r.Text += "counter " + o.statement
		left -= o.weight
		out = append(out, r)
	}
	return out
}

// portProtocols are the transport protocols with ports that the kernel translates. nft
// accepts a port range only after a match of one protocol.
var portProtocols = []string{"tcp", "udp", "udplite", "sctp", "dccp"}
