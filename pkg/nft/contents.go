package nft

import "github.com/masq-cni/masq-cni/pkg/ruleset"

// ref identifies an object of the table. parent is the chain of a rule or the set of an
// element.
type ref struct {
	kind         Kind
	parent, name string
}

// contents is a set of objects of a table.
type contents map[ref]bool

// frameOf returns the chains, sets and helpers of a table.
func frameOf(t ruleset.Table) contents {
	out := contents{}
	for _, o := range t.Objects {
		out[ref{KindObject, "", o.Name}] = true
	}
	for _, s := range t.Sets {
		out[ref{KindSet, "", s.Name}] = true
	}
	for _, c := range t.Chains {
		out[ref{KindChain, "", c.Name}] = true
	}
	return out
}

// contentsOf returns all objects of a table.
func contentsOf(t ruleset.Table) contents {
	out := frameOf(t)
	for _, s := range t.Sets {
		for _, e := range s.Elements {
			out[ref{KindElement, s.Name, e.Key}] = true
		}
	}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			out[ref{KindRule, c.Name, r.ID}] = true
		}
	}
	return out
}
