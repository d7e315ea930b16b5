package ruleset

import (
	"iter"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// LiveElement is an element of a live set. Live sets contain attachments.
type LiveElement struct {
	Set string
	Element
}

// Live returns the elements of an attachment in the order in which they are added. An
// attachment without a policy has none. For returns the same elements for all attachments
// together.
//
// If two attachments have the same address, it belongs to the later one. owns reports
// whether an address belongs to a. For other addresses of a, Live returns only the elements
// whose keys contain the link.
func Live(a masq.Attachment, owns func(netip.Addr) bool) []LiveElement {
	if a.Policy == nil {
		return nil
	}
	b := newBuilder(Sources{})
	b.put = func(set string, m member) { b.elements = append(b.elements, LiveElement{set, m.Element}) }
	b.add(a, owns)
	return b.elements
}

// Fill returns one live set with the elements that For would give it, so that a caller
// need not hold the whole table in memory. all yields each attachment and its function
// owns, as for Live; n is the approximate number of attachments. ok is false if no live
// set has the name.
func Fill(name string, n int, all iter.Seq2[masq.Attachment, func(netip.Addr) bool]) (s Set, ok bool) {
	if s, ok = LiveSet(name); !ok {
		return s, false
	}
	b := newBuilder(Sources{})
	var members []member
	b.put = func(set string, m member) {
		if set != name {
			return
		}
		if members == nil {
			members = make([]member, 0, n)
		}
		members = append(members, m)
	}
	for a, owns := range all {
		if a.Policy != nil {
			b.add(a, owns)
		}
	}
	b.live[name] = members
	of, _ := ParseSetName(name)
	s.Elements = b.liveSet(of).Elements
	return s, true
}

// LiveSets returns the names of the live sets in the order in which they are filled. The
// policy maps come first because they translate. The sets that enable the source check
// come last, because the check needs the sets of sources.
func (t Table) LiveSets() []string {
	var names []string
	for _, s := range t.Sets {
		if s.Live {
			names = append(names, s.Name)
		}
	}
	rank := func(name string) int {
		switch n, _ := ParseSetName(name); n.Kind {
		case LinkSet, LinkedSet:
			return 2
		case PolicySet:
			return 0
		}
		return 1
	}
	slices.SortStableFunc(names, func(x, y string) int { return rank(x) - rank(y) })
	return names
}

// OwnsAll is the function owns of Live for an attachment to which all its addresses belong.
func OwnsAll(netip.Addr) bool { return true }

// Skeleton returns the table without the elements of its live sets.
func (t Table) Skeleton() Table {
	sets := make([]Set, len(t.Sets))
	for i, s := range t.Sets {
		if s.Live {
			s.Elements = nil
		}
		sets[i] = s
	}
	t.Sets = sets
	return t
}

// Translation returns the part of the table that decides whether packets are translated.
func (t Table) Translation() Table {
	var out Table
	for _, s := range t.Sets {
		if n, _ := ParseSetName(s.Name); n.Kind == PolicySet || !s.Live {
			out.Sets = append(out.Sets, s)
		}
	}
	for _, c := range t.Chains {
		if _, ofPolicy := ParsePolicyChain(c.Name); ofPolicy || c.Name == postroutingChain {
			out.Chains = append(out.Chains, c)
		}
	}
	return out
}
