package report

import (
	"cmp"
	"slices"
	"strings"
)

// Top keeps the first values of an order, however many there are. It is for one goroutine
// at a time.
type Top[T any] struct {
	most    int
	compare func(a, b *T) int
	// kept has at least the first values; they are moved by pointer, since a Flow is large.
	kept []*T
	// last is the last value that can still be among the first, nil before there are
	// enough.
	last *T
	next T // of Add: a value that is not kept needs no allocation
}

// NewTop keeps so many values, which compare puts into order. The comparison is to be 0
// for equal values only, if it matters which of them are kept.
func NewTop[T any](most int, compare func(a, b *T) int) *Top[T] {
	return &Top[T]{most: most, compare: compare}
}

// Add takes a value.
func (t *Top[T]) Add(x T) {
	t.next = x
	if t.last != nil && t.compare(&t.next, t.last) >= 0 {
		return
	}
	kept := new(T)
	*kept = x
	t.kept = append(t.kept, kept)
	if len(t.kept) >= 2*max(t.most, 64) {
		t.cut()
	}
}

func (t *Top[T]) cut() {
	slices.SortFunc(t.kept, t.compare)
	if len(t.kept) > t.most {
		clear(t.kept[t.most:])
		t.kept = t.kept[:t.most]
	}
	if t.most > 0 && len(t.kept) == t.most {
		t.last = t.kept[t.most-1]
	}
}

// Sorted are the values that were kept, in order. Nothing is added after it.
func (t *Top[T]) Sorted() []*T {
	t.cut()
	return t.kept
}

// SortNames are the orders that NewTopFlows takes: the columns of a flow.
func SortNames() []string {
	var out []string
	for _, c := range FlowColumns() {
		out = append(out, strings.ToLower(c.Name))
	}
	return out
}

// NewTopFlows keeps the first flows by one of SortNames; ok is false for another name.
func NewTopFlows(by string, most int) (t *Top[Flow], ok bool) {
	columns := FlowColumns()
	i := slices.Index(SortNames(), by)
	if i < 0 {
		return nil, false
	}
	return NewTop(most, func(a, b *Flow) int { return cmp.Or(columns[i].Compare(a, b), CompareFlows(a, b)) }), true
}
