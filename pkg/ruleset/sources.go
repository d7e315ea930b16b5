package ruleset

import (
	"fmt"
	"strconv"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// The rules for sources that others wired. They come behind those of attachments,
// which decide first.

// sets are the sources of both families. Prefixes may overlap; a set may not.
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

// each makes a rule for each family.
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

// postrouting leaves alone what the node itself sends: on many clouds the addresses
// of nodes and pods are of one range, and WireGuard, IKE and NTP need their source
// ports. The source address decides, not the absence of an input interface: what a
// tunnel of the node wraps (VXLAN, WireGuard, ESP) still has the interface that the
// inner packet came by. The other rules for sources need no such match: prerouting
// and forward do not see what the node sends.
func (s Sources) postrouting() []Rule {
	return s.each("postrouting/cidr", "fib saddr type != local goto "+PolicyChain(s.Policy), "pods that another plugin wired leave under the node's policy")
}

func (s Sources) invalid() []Rule {
	if !s.Policy.DropInvalid || s.Policy.EgressDirect || len(s.Prefixes) == 0 {
		return nil
	}
	var out []Rule
	for _, f := range families {
		// Direct destinations are reached with the pod's own address anyway. On a node
		// that sees one direction of a flow only, as a load balancer whose backends
		// answer directly, its packets are invalid for conntrack.
		out = append(out, Rule{
			invalidID + "cidr" + f.suffix,
			fmt.Sprintf("%[1]s saddr @cidr%[2]s %[1]s daddr != @direct%[2]s-%[3]s counter drop", f.header, f.suffix, s.Policy.ID()),
			"it would leave with the pod's own address",
		})
	}
	return out
}

func (s Sources) clamp() []Rule {
	if s.Policy.MSSClamp.Off() || len(s.Prefixes) == 0 {
		return nil
	}
	var out []Rule
	to := segment(s.Policy.MSSClamp.String())
	for _, f := range families {
		for _, side := range []string{"saddr", "daddr"} {
			out = append(out, Rule{
				sourcesClampID(side, f.suffix),
				fmt.Sprintf("%s %s @cidr%s tcp option maxseg size set %s", f.header, side, f.suffix, to),
				"a router on the way may say nothing when a segment is too long for the next link",
			})
		}
	}
	return out
}

func (s Sources) helpers() []Rule {
	var out []Rule
	for _, h := range s.Policy.Helpers {
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
						"the kernel assigns no helper by itself since Linux 6.0",
					})
				}
			}
		}
	}
	return out
}
