package nft

import (
	"maps"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// unusedPolicies returns the IDs of policies that no element leads to after the removed
// elements are deleted, and whether other policies are left. The kernel counts the uses of
// a chain: each of its rules, and each element that leads to it.
func unusedPolicies(have *observed, removed removedElements) (unused map[string]bool, left bool) {
	refs := references(removed)
	unused = map[string]bool{}
	for name, ch := range have.chains {
		switch id, ofPolicy := ruleset.ParsePolicyChain(name); {
		case !ofPolicy:
		case int(ch.uses)-refs[name] > len(ch.rules):
			left = true
		default:
			unused[id] = true
		}
	}
	return unused, left
}

// collect returns the messages that remove the chains, rules and sets of unused policies, and
// the features that only they have. Objects in needed are kept. It reads whole sets, but only when a
// policy ends.
func (c *Conn) collect(have *observed, unused map[string]bool, removed removedElements, needed contents) ([]op, error) {
	empty, err := c.emptyFeatures(have, removed, needed)
	if err != nil {
		return nil, err
	}
	helpers := 0 // rules of HelpersChain that are kept
	each := func(f func(chain string, r rule, role ruleset.RuleRole)) {
		for _, name := range slices.Sorted(maps.Keys(have.chains)) {
			for _, r := range have.chains[name].rules {
				f(name, r, ruleset.RoleOf(name, r.id))
			}
		}
	}
	var rules []op
	each(func(chain string, r rule, role ruleset.RuleRole) {
		switch {
		case empty[role.Feature] && !role.Sources, unused[role.Policy]:
			rules = append(rules, deleteRule(chain, r.handle))
		case chain == ruleset.HelpersChain:
			helpers++
		}
	})
	if helpers == 0 {
		each(func(chain string, r rule, role ruleset.RuleRole) {
			if role.Helpers && chain != ruleset.PreroutingChain { // that chain is deleted
				rules = append(rules, deleteRule(chain, r.handle))
			}
		})
	}
	return append(rules, drop(have, func(r ref) bool {
		switch r.kind {
		case KindChain:
			id, ofPolicy := ruleset.ParsePolicyChain(r.name)
			return ofPolicy && unused[id] || helpers == 0 && r.name == ruleset.PreroutingChain
		case KindSet:
			n, _ := ruleset.ParseSetName(r.name)
			f, isFeature := n.Feature()
			return unused[n.Policy()] || isFeature && empty[f]
		}
		return empty[ruleset.Feature{Kind: ruleset.HelperSet, Name: r.name}]
	}, func(Difference) {})...), nil
}

// emptyFeatures reports for each feature whether its sets are empty after the removed
// elements are deleted. It reports false for features of sourceCIDRs and of needed.
func (c *Conn) emptyFeatures(have *observed, removed removedElements, needed contents) (map[ruleset.Feature]bool, error) {
	empty := map[ruleset.Feature]bool{}
	for name := range have.sets {
		n, _ := ruleset.ParseSetName(name)
		f, ok := n.Feature()
		if !ok || !ruleset.SetDependsOnPolicies(name) {
			continue
		}
		all, err := c.elements(name, n.Set().Type)
		if err != nil {
			return nil, err
		}
		is := !needed[ref{KindSet, "", name}]
		for key := range all {
			_, ok := removed[name][key]
			is = is && ok
		}
		was, seen := empty[f]
		empty[f] = is && (was || !seen)
	}
	if ch := have.chains[ruleset.HelpersChain]; ch != nil {
		for _, r := range ch.rules {
			if role := ruleset.RoleOf(ruleset.HelpersChain, r.id); role.Sources {
				empty[role.Feature] = false
			}
		}
	}
	return empty, nil
}
