package report

import (
	"cmp"
	"slices"
	"strings"
)

// SortNames are the orders that NewTop takes: the columns of a flow.
func SortNames() []string {
	var out []string
	for _, c := range FlowColumns() {
		out = append(out, strings.ToLower(c.Name))
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
	columns := FlowColumns()
	i := slices.Index(SortNames(), by)
	if i < 0 {
		return nil, false
	}
	return &Top{most: most, compare: func(a, b *Flow) int { return cmp.Or(columns[i].Compare(a, b), CompareFlows(a, b)) }}, true
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
