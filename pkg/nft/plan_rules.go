package nft

import (
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

func (p *planner) rules() error {
	for _, c := range p.want.Chains {
		var have []rule
		if x := p.have.chains[c.Name]; x != nil {
			have = x.rules
		}
		if err := p.edit(c, have); err != nil {
			return err
		}
	}
	return nil
}

// edit makes the rules of a chain the desired ones. It keeps each correct rule, and so its
// counter.
func (p *planner) edit(c ruleset.Chain, have []rule) error {
	prints := make([]string, len(c.Rules))
	ids := map[string]bool{}
	for i, r := range c.Rules {
		all, err := compile(r.Text)
		if err != nil {
			return err
		}
		prints[i] = r.ID + "\n" + fingerprint(all)
		ids[r.ID] = true
	}
	have = slices.DeleteFunc(slices.Clone(have), func(r rule) bool {
		return !ids[r.id] && (p.scope == part && ruleset.RuleIsShared(c.Name, r.id) || p.pending[ref{KindRule, c.Name, r.id}])
	})
	haves := make([]string, len(have))
	for i, r := range have {
		haves[i] = r.id + "\n" + r.print
	}
	kept := common(prints, haves)
	isKept := map[int]bool{}
	for _, h := range kept {
		if h >= 0 {
			isKept[h] = true
		}
	}
	wrong := map[string]rule{}
	for i, r := range have {
		if isKept[i] {
			continue
		}
		switch {
		case ids[r.id]:
			wrong[r.id] = r
			p.found(Difference{Kind: KindRule, Reason: masq.Changed, Parent: c.Name, Object: r.id, Detail: "changed or out of place"})
		default:
			p.found(Difference{Kind: KindRule, Reason: masq.Unexpected, Parent: c.Name, Object: r.id, Handle: r.handle})
		}
		o := deleteRule(c.Name, r.handle)
		o.unexpected = !ids[r.id]
		p.do(o, !ids[r.id] && ruleset.RuleDependsOnPolicies(c.Name, r.id))
	}
	for i, r := range c.Rules {
		if kept[i] >= 0 {
			continue
		}
		was, replaced := wrong[r.ID]
		if !replaced {
			p.found(Difference{Kind: KindRule, Reason: masq.Missing, Parent: c.Name, Object: r.ID})
		}
		var before uint64
		for _, h := range kept[i:] {
			if h >= 0 {
				before = have[h].handle
				break
			}
		}
		o, err := addRule(c.Name, r, before, was.count)
		if err != nil {
			return err
		}
		p.edits = p.edits || p.have.chains[c.Name] != nil
		p.do(o, !replaced && ruleset.RuleDependsOnPolicies(c.Name, r.ID) || p.have.chains[c.Name] == nil && ruleset.ChainDependsOnPolicies(c.Name))
	}
	return nil
}

// common returns for each text of a the index of its partner in the longest common
// subsequence of a and b, or -1.
func common(a, b []string) []int {
	length := make([][]int, len(a)+1)
	for i := range length {
		length[i] = make([]int, len(b)+1)
	}
	for i := range slices.Backward(a) {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	out := make([]int, len(a))
	for i, j := 0, 0; i < len(a); {
		switch {
		case j < len(b) && a[i] == b[j]:
			out[i] = j
			i, j = i+1, j+1
		case j < len(b) && length[i][j+1] >= length[i+1][j]:
			j++
		default:
			out[i] = -1
			i++
		}
	}
	return out
}
