package ruleset

import (
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// directSets returns the sets of the direct destinations of a policy.
func directSets(p masq.Policy) []Set {
	var out []Set
	for _, f := range families {
		s := SetName{DirectSet, f.family, p.ID()}.Set()
		for _, r := range p.DirectRanges(f.family) {
			s.Elements = append(s.Elements, Element{Key: rangeText(r)})
		}
		out = append(out, s)
	}
	return out
}

// mssMaps returns the maps from the destinations of a policy with mssClamps to their MSS.
func mssMaps(p masq.Policy) []Set {
	var out []Set
	for _, f := range masq.Families {
		s := SetName{MSSMap, f, p.ID()}.Set()
		for _, r := range p.MSSRanges(f) {
			s.Elements = append(s.Elements, Element{Key: rangeText(r.AddrRange), MSS: r.MSS})
		}
		out = append(out, s)
	}
	return out
}

// neverSet returns the set of the types of destinations that are never translated.
func neverSet() Set {
	s := SetName{Kind: NeverSet}.Set()
	s.Elements = []Element{{Key: "local"}, {Key: "broadcast"}, {Key: "anycast"}, {Key: "multicast"}}
	return s
}

func rangeText(r masq.AddrRange) string {
	if p, ok := r.Prefix(); ok {
		if p.IsSingleIP() {
			return p.Addr().String()
		}
		return p.String()
	}
	return r.First.String() + "-" + r.Last.String()
}

func policyChain(p masq.Policy, have Egress) Chain {
	c := Chain{Name: PolicyChain(p)}
	if p.EgressDirect {
		c.Rules = []Rule{{"policy/egress-direct", "counter return", "the pod opted out of translation"}}
		return c
	}
	for _, f := range families {
		c.Rules = append(c.Rules, Rule{
			"policy/direct" + f.suffix,
			fmt.Sprintf("%s daddr @direct%s-%s counter return", f.header, f.suffix, p.ID()),
			"direct destinations are reached with the container's own address",
		})
	}
	c.Rules = append(c.Rules, Rule{"policy/never", "fib daddr type @never counter return", "the node itself; broadcast, anycast and multicast destinations"})
	c.Rules = append(c.Rules, egress(p, have)...)
	return c
}
