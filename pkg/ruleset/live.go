package ruleset

import (
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"

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
	s.Elements = b.liveSet(name, s.Type).Elements
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
		switch {
		case name == linkSet, name == everyone[masq.IPv4].linked, name == everyone[masq.IPv6].linked:
			return 2
		case strings.HasPrefix(name, "policy"):
			return 0
		}
		return 1
	}
	slices.SortStableFunc(names, func(x, y string) int { return rank(x) - rank(y) })
	return names
}

// Owned is for Live: the attachment owns all its addresses.
func Owned(netip.Addr) bool { return true }

// LiveSet returns the live set with a name, without elements; ok is false if no live
// set has that name.
func LiveSet(name string) (s Set, ok bool) {
	if name == linkSet {
		return Set{Name: name, Type: "ifname", Live: true, Counter: true}, true
	}
	kind, feature, _ := strings.Cut(name, "-")
	for _, f := range masq.Families {
		typ := addressType[f]
		s = Set{Name: name, Type: typ, Live: true}
		switch {
		case name == everyone[f].policy:
			s.Verdict, s.Counter = true, true
			return s, true
		case name == helpedSets[f]:
			return s, true
		case name == everyone[f].sources:
			s.Type = "ifname . " + typ
			return s, true
		case name == everyone[f].invalid, name == everyone[f].linked:
			s.Counter = true
			return s, true
		case kind == "clamp"+f.String() && feature != "":
			return s, true
		case kind == "helper"+f.String() && feature != "":
			s.Type = typ + " . inet_service"
			return s, true
		}
	}
	return Set{}, false
}

// Subject is what an element of a live set is about: an address of an attachment, or,
// where the address is invalid, the host's end of its link.
type Subject struct {
	Address netip.Addr
	Link    string
}

// SubjectOf returns what the element with a key is about.
func SubjectOf(key string) Subject {
	for part := range strings.SplitSeq(key, " . ") {
		if a, err := netip.ParseAddr(part); err == nil {
			return Subject{Address: a}
		}
	}
	link, err := strconv.Unquote(key)
	if err != nil {
		return Subject{}
	}
	return Subject{Link: link}
}

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
