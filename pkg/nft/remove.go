package nft

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

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
		have, err := c.s.structure()
		if err != nil || !have.exists || have.owner != 0 { // nothing in another program's table is ours
			return err
		}
		generation, err := c.s.generation()
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
		for name := range unused {
			if heirs.needed["chain "+name] {
				delete(unused, name)
			}
		}
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
	err := c.s.commit(ops, generation)
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
	needed spared
}

// succeed puts successors under their policies: those addresses whose elements are in
// gone.
func (c *Conn) succeed(successors []masq.Attachment, has func(netip.Addr) (bool, error), gone removed, have *observed) (heirs, error) {
	var left []masq.Attachment
	for _, s := range successors {
		s.Addresses = slices.DeleteFunc(slices.Clone(s.Addresses), func(x netip.Addr) bool {
			_, free := gone["policy"+masq.FamilyOf(x).String()][x.String()]
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
	out := heirs{p.ops, things(want)}
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

// unusedPolicies returns the chains of policies that no element goes to any more,
// and whether others are left. The kernel counts what uses a chain: each of its
// rules once, and each element.
func unusedPolicies(have *observed, gone removed) (unused map[string]bool, left bool) {
	refs := references(gone)
	unused = map[string]bool{}
	for name, ch := range have.chains {
		switch {
		case !strings.HasPrefix(name, "policy-"):
		case int(ch.uses)-refs[name] > len(ch.rules):
			left = true
		default:
			unused[name] = true
		}
	}
	return unused, left
}

// collect returns the messages that remove the chains of policies that nothing
// uses, and the helpers and clamps that nothing uses without them. It reads whole
// sets, but only when a policy ends. What is needed stays.
func (c *Conn) collect(have *observed, unused map[string]bool, gone removed, needed spared) ([]op, error) {
	empty := map[string]bool{} // by feature: what follows the family in a set's name
	for name := range have.sets {
		typ, _ := liveType(name)
		kind, feature, ok := strings.Cut(name, "-")
		if !ok || typ == "" || feature == masq.ClampPMTU.String() {
			continue
		}
		all, err := c.s.elements(name, typ)
		if err != nil {
			return nil, err
		}
		key := strings.TrimRight(kind, "46") + "-" + feature
		is := !needed["set "+name]
		for key := range all {
			_, going := gone[name][key]
			is = is && going
		}
		was, seen := empty[key]
		empty[key] = is && (was || !seen)
	}
	if ch := have.chains["helpers"]; ch != nil {
		for _, r := range ch.rules {
			for feature := range empty {
				// Sources that others wired have rules of their own.
				if strings.HasPrefix(r.id, "helpers/cidr-"+strings.TrimPrefix(feature, "helper-")+"-") {
					empty[feature] = false
				}
			}
		}
	}
	var rules []op
	helpers := 0 // rules of that chain that stay
	for _, name := range []string{"helpers", "clamp"} {
		ch := have.chains[name]
		if ch == nil {
			continue
		}
		for _, r := range ch.rules {
			switch {
			case empty[featureOfRule(r.id)]:
				rules = append(rules, deleteRule(name, r.handle))
			case name == "helpers":
				helpers++
			}
		}
	}
	for _, name := range []string{"expected", "announced", "following"} {
		if ch := have.chains[name]; ch != nil && helpers == 0 {
			for _, r := range ch.rules {
				if ofHelpers(r.id) {
					rules = append(rules, deleteRule(name, r.handle))
				}
			}
		}
	}
	return append(rules, drop(have,
		func(name string) bool { return unused[name] || helpers == 0 && name == ruleset.HelpersChain },
		func(name string) bool {
			kind, rest, _ := strings.Cut(name, "-")
			return strings.HasPrefix(name, "direct") && unused["policy-"+rest] || empty[strings.TrimRight(kind, "46")+"-"+rest]
		},
		func(name string) bool { return empty["helper-"+name] },
		func(Difference) {})...), nil
}

// featureOfRule returns the feature that a rule of a shared chain serves: the rule
// helpers/ftp-tcp4 serves helper-ftp-tcp, clamp/1300-saddr6 serves clamp-1300.
func featureOfRule(id string) string {
	chain, rest, _ := strings.Cut(id, "/")
	switch chain {
	case "helpers":
		return "helper-" + strings.TrimRight(rest, "46")
	case "clamp":
		size, _, _ := strings.Cut(rest, "-")
		return "clamp-" + size
	}
	return ""
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
	mine := map[string]bool{}
	for _, verdicts := range []bool{true, false} { // a verdict's comment names the address's attachment
		for _, s := range want.Sets {
			if !s.Live || s.Verdict != verdicts || have.sets[s.Name] == nil {
				continue
			}
			var own []ruleset.Element
			for _, e := range s.Elements {
				addr, _, _ := strings.Cut(e.Key, " . ")
				if !verdicts && !mine[addr] && e.Comment != a.Identity() {
					continue
				}
				x, found, err := c.s.element(s.Name, s.Type, e.Key)
				if err != nil {
					return nil, nil, fmt.Errorf("read element %s of %s: %w", e.Key, s.Name, err)
				}
				if verdicts {
					if found && x.comment != a.Identity() {
						continue
					}
					// Without a verdict, elements of other sets for the address are this attachment's.
					mine[e.Key] = true
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
	for _, s := range []ruleset.Set{
		{Name: "policy4", Type: "ipv4_addr"},
		{Name: "sources4", Type: "ifname . ipv4_addr"},
		{Name: "policy6", Type: "ipv6_addr"},
		{Name: "sources6", Type: "ifname . ipv6_addr"},
		{Name: "links", Type: "ifname"},
	} {
		if have.sets[s.Name] == nil {
			continue
		}
		all, err := c.s.elements(s.Name, s.Type)
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
			if addr, bad := netip.ParseAddr(key); bad == nil {
				ops, err = c.forget(addr, have, gone)
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
