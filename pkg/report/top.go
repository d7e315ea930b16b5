package report

import (
	"cmp"
	"slices"
	"strings"
)

// SortNames are the orders that NewTop takes: bytes, packets and age descending, the
// others ascending.
func SortNames() []string {
	var out []string
	for _, o := range orders {
		out = append(out, o.name)
	}
	return out
}

// Top keeps the first flows of an order, however many there are.
type Top struct {
	most    int
	compare func(a, b *Flow) int
	flows   []Flow
}

// NewTop keeps the first flows by one of SortNames; ok is false for another name.
func NewTop(by string, most int) (t *Top, ok bool) {
	i := slices.IndexFunc(orders, func(o order) bool { return o.name == by })
	if i < 0 {
		return nil, false
	}
	first := orders[i].compare
	return &Top{most: most, compare: func(a, b *Flow) int {
		return cmp.Or(first(a, b), a.Original.CompareSource(b.Original), a.Original.CompareDestination(b.Original), cmp.Compare(a.Protocol, b.Protocol))
	}}, true
}

// Add takes a flow.
func (t *Top) Add(f Flow) {
	t.flows = append(t.flows, f)
	if len(t.flows) >= 2*max(t.most, 64) {
		t.cut()
	}
}

func (t *Top) cut() {
	slices.SortFunc(t.flows, func(a, b Flow) int { return t.compare(&a, &b) })
	t.flows = t.flows[:min(len(t.flows), t.most)]
}

// Sorted are the flows that were kept, in order. Nothing is added after it.
func (t *Top) Sorted() []Flow {
	t.cut()
	return t.flows
}

// order is a way to put flows into order.
type order struct {
	name    string
	compare func(a, b *Flow) int
}

var orders = []order{
	{"bytes", func(a, b *Flow) int { return cmp.Compare(b.Bytes.Sum(), a.Bytes.Sum()) }},
	{"packets", func(a, b *Flow) int { return cmp.Compare(b.Packets.Sum(), a.Packets.Sum()) }},
	{"age", func(a, b *Flow) int { return cmp.Compare(b.Duration, a.Duration) }},
	{"timeout", func(a, b *Flow) int { return cmp.Compare(a.Timeout, b.Timeout) }},
	{"pod", func(a, b *Flow) int { return strings.Compare(a.Pod(), b.Pod()) }},
	{"source", func(a, b *Flow) int { return a.Original.CompareSource(b.Original) }},
	{"destination", func(a, b *Flow) int { return a.Original.CompareDestination(b.Original) }},
}

// CompareSource is the order of tuples by where they come from; ICMP has an ID instead
// of a port.
func (t Tuple) CompareSource(u Tuple) int {
	return cmp.Or(t.Source.Compare(u.Source), cmp.Compare(t.SourcePort, u.SourcePort), cmp.Compare(t.ICMP.ID, u.ICMP.ID))
}

// CompareDestination is their order by where they go to.
func (t Tuple) CompareDestination(u Tuple) int {
	return cmp.Or(t.Destination.Compare(u.Destination), cmp.Compare(t.DestinationPort, u.DestinationPort))
}
