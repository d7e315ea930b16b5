package ruleset

import (
	"iter"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// LiveElement is an element of a live set, which is a set that holds attachments.
type LiveElement struct {
	Set string
	Element
}

// Live returns the elements of an attachment in the order in which they are made: none
// without a policy. For returns the same elements, joined with the elements of other
// attachments. If a later attachment has the same addresses, this attachment does not
// own them, and Live returns only the elements that name its link.
func Live(a masq.Attachment, owns func(netip.Addr) bool) []LiveElement {
	if a.Policy == nil {
		return nil
	}
	b := newBuilder(Sources{})
	b.put = func(set string, m member) { b.elements = append(b.elements, LiveElement{set, m.Element}) }
	b.add(a, owns)
	return b.elements
}

// Fill returns a live set with the elements that For gives it. A caller that needs one set
// at a time does not have the whole table in memory. all yields the attachments, and for
// each which of its addresses it owns, as for Live; n is about how many there are. ok is
// false if there is no live set of that name.
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

// LiveSets returns the names of a table's live sets in the order in which they are filled.
// The policy maps come first: they translate. The sets that enable the
// checks of sources come last: the checks need the sets of sources.
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

// Owned is for Live: the attachment owns all its addresses.
func Owned(netip.Addr) bool { return true }

// Skeleton returns the table without the elements of its live sets, which do not follow
// from the policies alone.
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
