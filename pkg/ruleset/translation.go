package ruleset

import (
	"fmt"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// target is an egress address to choose, or the kernel's own choice.
type target struct {
	addr netip.Addr // invalid: masquerade
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

// egress returns the rules that translate, to the addresses that the node has. A
// family that has only addresses that the node lacks is dropped: translated to
// another address it would pass for another client, and untranslated it would leak.
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
		out = append(out, choose("policy/egress"+s.id, s.match, all, "everything else leaves with the address of the node")...)
		if s.listed {
			// No packet gets here while an address is left. The rule stays all the
			// same, and with it what it has counted.
			out = append(out, Rule{noEgressID + s.id, s.match + "counter drop", "the node has none of the policy's egress addresses"})
		}
	}
	return out
}

// side is the part of a policy that one match selects: a family, or both.
type side struct {
	id, match string
	targets   []target
	listed    bool // the policy lists addresses of the family
}

// ports returns the rules that translate flows of protocols with ports to ports that are
// not reserved for the node.
//
// With a range of ports the kernel no longer keeps privileged source ports privileged
// (nf_nat_l4proto_unique_tuple in net/netfilter/nf_nat_core.c), and rlogin, rsh and NFS
// need them: sources below 1024 get another range.
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
					s.outcomes([]masq.PortRange{r}, random), "a port that is not reserved for the node is kept where it is free")...)
			}
		}
		if cut || len(p.ToPorts) > 0 {
			out = append(out, s.choose("ports", proto, ">=", s.outcomes(free, random),
				"the ports that the configuration gives, without those reserved for the node")...)
		}
		out = append(out, s.choose("privileged", proto, "<", s.outcomes(privileged, random),
			"servers may ask for a privileged port; none on which the node listens")...)
	}
	return out
}

// choose makes the rules for flows whose source port is below 1024 ("<") or not (">=").
// Without a port that they could have, they are dropped.
func (s side) choose(kind, proto, compare string, all []outcome, why string) []Rule {
	match := s.match + proto + " sport " + compare + " 1024 "
	if len(all) == 0 {
		return []Rule{{noPortID + kind + s.id + "-" + proto, match + "counter drop", "each port of the policy is reserved for the node"}}
	}
	return choose("policy/"+kind+s.id+"-"+proto, match, all, why)
}

// outcomes are each address with each range of ports.
func (s side) outcomes(ranges []masq.PortRange, random string) []outcome {
	var all []outcome
	for _, t := range s.targets {
		for _, r := range ranges {
			all = append(all, outcome{t.statement(r.String()) + random, r.Size()})
		}
	}
	return all
}

// outcome is one of several translations to choose from for each connection, and
// its weight.
type outcome struct {
	statement string
	weight    int
}

// choose makes the rules that take one of several outcomes at random. A rule that
// is reached takes its share of the weight that is left, so each outcome is as
// likely as its weight.
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

// portProtocols are the transport protocols with ports that the kernel
// translates. nft takes a port range only behind a match of one protocol.
var portProtocols = []string{"tcp", "udp", "udplite", "sctp", "dccp"}
