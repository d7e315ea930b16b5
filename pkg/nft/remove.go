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

// Remove removes an attachment from the kernel. With the last attachment of a policy it
// removes the policy's chain and the objects that only this policy needed, and with the
// last of all the table. Elements with the identity of another attachment are kept,
// whatever their address. If a has no addresses, the comments of elements in the kernel
// identify the attachment's elements.
//
// An address of a that successors have too is given to the last of them: its rules and
// elements are made in the same transaction. has is as for Add.
func (c *Conn) Remove(a masq.Attachment, has func(netip.Addr) (bool, error), successors ...masq.Attachment) error {
	err := retry(func() error {
		have, err := c.structure()
		if err != nil || !have.exists || have.owner != 0 { // a table of another program has no element of ours
			return err
		}
		generation, err := c.generation()
		if err != nil {
			return err
		}
		ops, removed, err := c.removal(a, have)
		if err != nil {
			return err
		}
		if len(successors) == 0 && leavesMany(have, removed) {
			// Only the elements must be unchanged since they were read. Reading the
			// structure takes ten times as long, and other programs may change the ruleset
			// meanwhile.
			return c.remove(ops, generation)
		}
		added, err := c.addSuccessors(successors, has, removed, have)
		if err != nil {
			return err
		}
		unused, left := unusedPolicies(have, removed)
		maps.DeleteFunc(unused, func(id string, _ bool) bool {
			return added.needed[ref{KindChain, "", ruleset.PolicyChainOf(id)}]
		})
		if !left && len(added.ops) == 0 {
			return c.remove([]op{deleteTable()}, have.generation)
		}
		ops = append(ops, added.ops...)
		if len(unused) > 0 {
			more, err := c.collect(have, unused, removed, added.needed)
			if err != nil {
				return err
			}
			ops = append(ops, more...)
		}
		return c.remove(ops, have.generation)
	})
	return explain(err)
}

// remove commits the removal of objects that seemed unused. The kernel counts the uses of
// a chain while it prepares a transaction, and corrects the count if the transaction
// fails. So a reader can see too few uses at an unchanged generation. Then the chain is
// still in use (EBUSY), and the removal is planned again.
func (c *Conn) remove(ops []op, generation uint32) error {
	err := c.commit(ops, generation)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w: %w", errStale, err)
	}
	return err
}

// removal returns the messages that remove an attachment's elements, and these elements.
// It deletes only elements that it has read. Each deletion of a missing element would
// abort the transaction, and then the kernel waits for RCU, 16 to 32 ms (__nf_tables_abort
// in nf_tables_api.c).
func (c *Conn) removal(a masq.Attachment, have *observed) ([]op, removedElements, error) {
	removed := removedElements{}
	if len(a.Addresses) == 0 || a.Policy == nil {
		ops, err := c.removalByIdentity(a.Key, have, removed)
		return ops, removed, err
	}
	var out []op
	want := ruleset.For([]masq.Attachment{a}, ruleset.Sources{}, ruleset.Egress{}) // only the elements are used
	sets := slices.Concat(want.Sets, attachedSets(a, want.Sets))
	mine := map[netip.Addr]bool{}
	for _, verdicts := range []bool{true, false} { // the comment of a verdict element identifies the address's attachment
		for _, s := range sets {
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
					// If there is no verdict element, elements of other sets for the
					// address are this attachment's.
					mine[addr] = true
					removed.add(s.Name, e.Key, x.chain)
				}
				if found {
					own = append(own, e)
					removed.add(s.Name, e.Key, x.chain)
				}
			}
			ops, err := deleteElements(s, own)
			if err != nil {
				return nil, nil, err
			}
			out = append(out, ops...)
		}
	}
	return out, removed, nil
}

// attachedSets returns the sets of an attachment that its policy had while the node had local
// MSS clamps, and that are not among all: these may have been removed since.
func attachedSets(a masq.Attachment, all []ruleset.Set) []ruleset.Set {
	var out []ruleset.Set
	for _, f := range masq.Families {
		s := ruleset.SetName{Kind: ruleset.AttachedSet, Family: f, Variant: a.Policy.ID()}.Set()
		if slices.ContainsFunc(all, func(o ruleset.Set) bool { return o.Name == s.Name }) {
			continue
		}
		for _, addr := range a.Addresses {
			if masq.FamilyOf(addr) == f {
				s.Elements = append(s.Elements, ruleset.Element{Key: addr.String()})
			}
		}
		out = append(out, s)
	}
	return out
}

func (c *Conn) removalByIdentity(k masq.Key, have *observed, removed removedElements) ([]op, error) {
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
				ops, err = c.deleteAddress(ruleset.SubjectOf(key).Address, have, removed)
				removed.add(s.Name, key, e.chain)
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
