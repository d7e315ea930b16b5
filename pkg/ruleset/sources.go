package ruleset

import (
	"fmt"
	"strconv"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// These are the rules for sourceCIDRs. They come after the rules of attachments, which
// take precedence.

// sets returns the sets of the sources. Prefixes may overlap; the elements of a set may
// not.
func (s Sources) sets() []Set {
	var out []Set
	for _, f := range families {
		set := SetName{Kind: CIDRSet, Family: f.family}.Set()
		for _, r := range masq.Union(s.Prefixes, f.family) {
			set.Elements = append(set.Elements, Element{Key: rangeText(r)})
		}
		out = append(out, set)
	}
	return out
}

// each returns a rule for each family.
func (s Sources) each(id, format, why string) []Rule {
	var out []Rule
	if len(s.Prefixes) == 0 {
		return nil
	}
	for _, f := range families {
		match := fmt.Sprintf("%s saddr @cidr%s ", f.header, f.suffix)
		out = append(out, Rule{id + f.suffix, match + format, why})
	}
	return out
}

// postrouting does not match packets that the node itself sends. On many clouds nodes and
// pods share a range of addresses, and WireGuard, IKE and NTP need their source ports. The
// source address decides, not the input interface: packets that a tunnel of the node
// encapsulates (VXLAN, WireGuard, ESP) keep the interface by which the inner packet
// entered. The other rules for sources need no such match, because prerouting and forward
// do not see packets of the node.
func (s Sources) postrouting() []Rule {
	return s.each("postrouting/cidr", "fib saddr type != local goto "+PolicyChain(s.Policy), "pods of other plugins use the node's policy")
}

func (s Sources) invalid() []Rule {
	if !s.Policy.DropInvalid || s.Policy.EgressDirect || len(s.Prefixes) == 0 {
		return nil
	}
	var out []Rule
	for _, f := range families {
		// Packets to direct destinations are excluded, because they leave with the pod's
		// own address anyway. On a node that sees only one direction of a flow, such as a
		// load balancer with direct server return, conntrack calls its packets invalid.
		out = append(out, Rule{
			invalidID + "cidr" + f.suffix,
			fmt.Sprintf("%[1]s saddr @cidr%[2]s %[1]s daddr != @direct%[2]s-%[3]s counter drop", f.header, f.suffix, s.Policy.ID()),
			"the packet would leave untranslated, with the pod's address",
		})
	}
	return out
}

func (s Sources) clamp() []Rule {
	if len(s.Prefixes) == 0 {
		return nil
	}
	var out []Rule
	to := segment(s.Policy.MSSClamp.String())
	for _, f := range families {
		for _, side := range []string{"saddr", "daddr"} {
			if s.Policy.MSSClamp.Off() {
				break
			}
			out = append(out, Rule{
				sourcesClampID(side, f.suffix),
				fmt.Sprintf("%s %s @cidr%s tcp option maxseg size set %s", f.header, side, f.suffix, to),
				"a router on the path may drop long segments without an ICMP error",
			})
		}
		for _, e := range ends {
			if !s.Policy.HasMSSClamps() {
				break
			}
			out = append(out, Rule{
				sourcesMSSClampID(e.own, f.suffix),
				fmt.Sprintf("ct %s %s saddr @cidr%s %s", e.own, f.header, f.suffix, setMSS(e.other, f.header, f.family, s.Policy.ID())),
				"the path to the destination is narrower than the node's route to it",
			})
		}
	}
	return out
}

func (s Sources) helpers() []Rule {
	var out []Rule
	for _, h := range s.Policy.KernelHelpers() {
		kind, ok := masq.HelperKindOf(h.Name)
		if !ok || len(s.Prefixes) == 0 {
			continue
		}
		for _, how := range kind.Assign {
			name := HelperObject(kind, how).Name
			for _, f := range families {
				if how.IPv4Only && f.family != masq.IPv4 {
					continue
				}
				for _, port := range h.Ports {
					out = append(out, Rule{
						sourcesHelperID(name, strconv.Itoa(int(port)), f.suffix),
						fmt.Sprintf("%s saddr @cidr%s %s dport %d ct helper set %q", f.header, f.suffix, how.Protocol, port, name),
						"since Linux 6.0 the kernel assigns helpers by rules only",
					})
				}
			}
		}
	}
	return out
}
