package nft

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Remove takes an attachment out of the kernel, and with the last one of a policy
// its chain and what only that policy needed, and with the last of all the table.
// What carries another attachment's identity stays, whatever its address. With no
// addresses given, the kernel's own comments say which are the attachment's.
//
// An address that a had belongs to the last of successors that has it too: its rules
// and elements are made in the same transaction. has is as for Add.
func (c *Conn) Remove(a masq.Attachment, has func(netip.Addr) (bool, error), successors ...masq.Attachment) error {
	err := retry(func() error {
		have, err := c.structure()
		if err != nil || !have.exists || have.owner != 0 { // nothing in another program's table is ours
			return err
		}
		generation, err := c.generation()
		if err != nil {
			return err
		}
		ops, gone, err := c.removal(a, have)
		if err != nil {
			return err
		}
		if len(successors) == 0 && crowded(have, gone) {
			// Only the elements must be unchanged since they were read. Reading the
			// structure takes ten times as long, and other programs may change the
			// ruleset meanwhile.
			return c.remove(ops, generation)
		}
		heirs, err := c.succeed(successors, has, gone, have)
		if err != nil {
			return err
		}
		unused, left := unusedPolicies(have, gone)
		maps.DeleteFunc(unused, func(id string, _ bool) bool {
			return heirs.needed[ref{KindChain, "", ruleset.PolicyChainOf(id)}]
		})
		if !left && len(heirs.ops) == 0 {
			return c.remove([]op{deleteTable()}, have.generation)
		}
		ops = append(ops, heirs.ops...)
		if len(unused) > 0 {
			more, err := c.collect(have, unused, gone, heirs.needed)
			if err != nil {
				return err
			}
			ops = append(ops, more...)
		}
		return c.remove(ops, have.generation)
	})
	return explain(err)
}

// remove commits the removal of objects that seemed unused. The kernel counts the uses
// of a chain while it prepares a transaction, and counts back if that fails, so a reader
// can see too few uses without any change of the generation. Then the chain is still in
// use (EBUSY), and the removal is planned again.
func (c *Conn) remove(ops []op, generation uint32) error {
	err := c.commit(ops, generation)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w: %w", errStale, err)
	}
	return err
}

// crowd is the number of attachments that have to be left under a policy for it to be
// certain that DELs at the same time do not end it.
const crowd = 100

// crowded reports whether a removal leaves many attachments under each policy that it
// takes one from.
func crowded(have *observed, gone removed) bool {
	refs := references(gone)
	if len(refs) == 0 {
		return false
	}
	for chain, n := range refs {
		if ch := have.chains[chain]; ch == nil || int(ch.uses)-n-len(ch.rules) < crowd {
			return false
		}
	}
	return true
}

// references is how many of the elements that are removed go to each chain.
func references(gone removed) map[string]int {
	refs := map[string]int{}
	for _, keys := range gone {
		for _, chain := range keys {
			if chain != "" {
				refs[chain]++
			}
		}
	}
	return refs
}

// heirs is what puts successors under their policies, and what that needs.
type heirs struct {
	ops    []op
	needed contents
}

// succeed puts successors under their policies: those addresses whose elements are in
// gone.
func (c *Conn) succeed(successors []masq.Attachment, has func(netip.Addr) (bool, error), gone removed, have *observed) (heirs, error) {
	var left []masq.Attachment
	for _, s := range successors {
		s.Addresses = slices.DeleteFunc(slices.Clone(s.Addresses), func(x netip.Addr) bool {
			_, free := gone[ruleset.PolicySet.Of(masq.FamilyOf(x))][x.String()]
			return !free
		})
		if s.Policy != nil && len(s.Addresses) > 0 {
			left = append(left, s)
		}
	}
	if len(left) == 0 {
		return heirs{}, nil
	}
	want, err := tableOf(left, has, have.reserved)
	if err != nil {
		return heirs{}, err
	}
	p, err := plan(want, have, part, nil)
	if errors.Is(err, errRebuild) {
		return heirs{}, nil // the next ADD, or masqd, makes the table again with all its elements
	}
	if err != nil {
		return heirs{}, err
	}
	out := heirs{p.ops, frameOf(want)}
	for _, s := range want.Sets {
		if !s.Live || len(s.Elements) == 0 {
			continue
		}
		add, err := addElements(s, s.Elements, false)
		if err != nil {
			return heirs{}, err
		}
		out.ops = append(out.ops, add...)
	}
	return out, nil
}

// removed says which elements a transaction will have deleted: by set, by key. Of
// verdict maps the value is the chain that the element went to.
type removed map[string]map[string]string

func (r removed) add(set, key, chain string) {
	if r[set] == nil {
		r[set] = map[string]string{}
	}
	r[set][key] = chain
}

// unusedPolicies returns the IDs of policies to which no element leads any more, and
// whether other policies are left. The kernel counts the uses of a chain: each of its
// rules, and each element that leads to it.
func unusedPolicies(have *observed, gone removed) (unused map[string]bool, left bool) {
	refs := references(gone)
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

// collect returns the messages that remove the chains of unused policies, and the features
// that no other policy has. It reads whole sets, but only when a policy ends. Objects in
// needed stay.
func (c *Conn) collect(have *observed, unused map[string]bool, gone removed, needed contents) ([]op, error) {
	empty, err := c.emptyFeatures(have, gone, needed)
	if err != nil {
		return nil, err
	}
	helpers := 0 // rules of HelpersChain that stay
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
		case empty[role.Feature] && !role.Sources:
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
			return n.Kind == ruleset.DirectSet && unused[n.Variant] || isFeature && empty[f]
		}
		return empty[ruleset.Feature{Kind: ruleset.HelperSet, Name: r.name}]
	}, func(Difference) {})...), nil
}

// emptyFeatures returns the features whose sets are empty when gone has been removed, and
// that neither sourceCIDRs nor needed have.
func (c *Conn) emptyFeatures(have *observed, gone removed, needed contents) (map[ruleset.Feature]bool, error) {
	empty := map[ruleset.Feature]bool{}
	for name := range have.sets {
		n, _ := ruleset.ParseSetName(name)
		f, ok := n.Feature()
		if !ok || !ruleset.SetComesAndGoes(name) {
			continue
		}
		all, err := c.elements(name, n.Set().Type)
		if err != nil {
			return nil, err
		}
		is := !needed[ref{KindSet, "", name}]
		for key := range all {
			_, going := gone[name][key]
			is = is && going
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

// removal returns the messages that remove an attachment's elements, and what they
// remove. It deletes what it has seen to be there: each deletion of a missing element
// would abort the transaction, and the kernel waits for RCU then, 16 to 32 ms
// (__nf_tables_abort in nf_tables_api.c).
func (c *Conn) removal(a masq.Attachment, have *observed) ([]op, removed, error) {
	gone := removed{}
	if len(a.Addresses) == 0 || a.Policy == nil {
		ops, err := c.removalByIdentity(a.Key, have, gone)
		return ops, gone, err
	}
	var out []op
	want := ruleset.For([]masq.Attachment{a}, ruleset.Sources{}, ruleset.Egress{}) // only the elements are used
	mine := map[netip.Addr]bool{}
	for _, verdicts := range []bool{true, false} { // a verdict's comment names the address's attachment
		for _, s := range want.Sets {
			if !s.Live || s.Verdict != verdicts || have.sets[s.Name] == nil {
				continue
			}
			var own []ruleset.Element
			for _, e := range s.Elements {
				addr := ruleset.SubjectOf(e.Key).Address
				if !verdicts && !mine[addr] && e.Comment != a.Identity() {
					continue
				}
				x, found, err := c.element(s.Name, s.Type, e.Key)
				if err != nil {
					return nil, nil, fmt.Errorf("read element %s of %s: %w", e.Key, s.Name, err)
				}
				if verdicts {
					if found && x.comment != a.Identity() {
						continue
					}
					// Without a verdict, elements of other sets for the address are this attachment's.
					mine[addr] = true
					gone.add(s.Name, e.Key, x.chain)
				}
				if found {
					own = append(own, e)
					gone.add(s.Name, e.Key, x.chain)
				}
			}
			ops, err := deleteElements(s, own)
			if err != nil {
				return nil, nil, err
			}
			out = append(out, ops...)
		}
	}
	return out, gone, nil
}

func (c *Conn) removalByIdentity(k masq.Key, have *observed, gone removed) ([]op, error) {
	var out []op
	for _, n := range []ruleset.SetName{
		{Kind: ruleset.PolicySet, Family: masq.IPv4},
		{Kind: ruleset.SourceSet, Family: masq.IPv4},
		{Kind: ruleset.PolicySet, Family: masq.IPv6},
		{Kind: ruleset.SourceSet, Family: masq.IPv6},
		{Kind: ruleset.LinkSet},
	} {
		s := n.Set()
		if have.sets[s.Name] == nil {
			continue
		}
		all, err := c.elements(s.Name, s.Type)
		if err != nil {
			return nil, err
		}
		for _, key := range slices.Sorted(maps.Keys(all)) {
			e := all[key]
			if e.comment != k.Identity() {
				continue
			}
			var ops []op
			var err error
			if n.Kind == ruleset.PolicySet {
				ops, err = c.forget(ruleset.SubjectOf(key).Address, have, gone)
				gone.add(s.Name, key, e.chain)
			} else {
				ops, err = deleteElements(s, []ruleset.Element{{Key: key}})
			}
			if err != nil {
				return nil, err
			}
			out = append(out, ops...)
		}
	}
	return out, nil
}
