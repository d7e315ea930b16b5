package report

import (
	"cmp"
	"slices"
	"strings"
)

// Top keeps the first values in an order, out of any number of values. It is not safe for
// concurrent use.
type Top[T any] struct {
	limit   int
	compare func(a, b *T) int
	// kept has the first values and some others. They are pointers, since a Flow is large.
	kept []*T
	// last is the last of the first values so far, or nil if there are not enough values.
	last *T
	next T // argument of Add, stored here so that a value that is not kept needs no allocation
}

// NewTop returns a Top that keeps limit values. If compare returns 0 for different values,
// any of them may be kept.
func NewTop[T any](limit int, compare func(a, b *T) int) *Top[T] {
	return &Top[T]{limit: limit, compare: compare}
}

// Add adds a value.
func (t *Top[T]) Add(x T) {
	t.next = x
	if t.last != nil && t.compare(&t.next, t.last) >= 0 {
		return
	}
	kept := new(T)
	*kept = x
	t.kept = append(t.kept, kept)
	if len(t.kept) >= 2*max(t.limit, 64) {
		t.cut()
	}
}

func (t *Top[T]) cut() {
	slices.SortFunc(t.kept, t.compare)
	if len(t.kept) > t.limit {
		clear(t.kept[t.limit:])
		t.kept = t.kept[:t.limit]
	}
	if t.limit > 0 && len(t.kept) == t.limit {
		t.last = t.kept[t.limit-1]
	}
}

// Sorted returns the kept values in order. Add must not be called afterwards.
func (t *Top[T]) Sorted() []*T {
	t.cut()
	return t.kept
}

// SortNames returns the orders for NewTopFlows: the columns of a flow in lower case.
func SortNames() []string {
	var out []string
	for _, c := range FlowColumns() {
		out = append(out, strings.ToLower(c.Name))
	}
	return out
}

// NewTopFlows returns a Top of flows in one of SortNames. ok is false for another name.
func NewTopFlows(by string, limit int) (t *Top[Flow], ok bool) {
	columns := FlowColumns()
	i := slices.Index(SortNames(), by)
	if i < 0 {
		return nil, false
	}
	return NewTop(limit, func(a, b *Flow) int { return cmp.Or(columns[i].Compare(a, b), CompareFlows(a, b)) }), true
}
