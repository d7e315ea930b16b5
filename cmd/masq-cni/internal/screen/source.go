package screen

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// maxRows is the greatest number of rows that a reading keeps.
const maxRows = 5000

// Source is where the rows of a screen come from.
type Source[T any] struct {
	Name    string // plural, such as "flows"
	Columns []report.Column[T]
	// First is the column that sorts the first screen. It is negative if the style does
	// not show that column.
	First int
	Max   int // rows to keep; 0 for maxRows
	// Tie orders rows that are equal in the sort column. Nil keeps their order.
	Tie func(a, b *T) int
	// Read calls add with each row.
	Read func(ctx context.Context, add func(T)) (Remarks, error)
}

// Remarks are shown with the rows.
type Remarks struct {
	Note string
	// Fault tells what the rows may lack. The command ends with the last one.
	Fault error
}

// Table returns a source without Read, whose rows the column named first sorts.
func Table[T any](w output.Writer, name string, columns []report.Column[T], first string) Source[T] {
	columns = report.VisibleColumns(columns, w.Style)
	return Source[T]{Name: name, Columns: columns, First: slices.IndexFunc(columns, func(c report.Column[T]) bool { return c.Name == first })}
}

// reading is the result of one reading of a source.
type reading[T any] struct {
	Remarks
	rows          []*row[T]
	by            order
	seen, matched int // rows of the source, and of these the rows that match the filter
	took          time.Duration
	at            time.Time
	err           error // why there are no rows
}

// read reads a source and keeps the first rows of an order.
func read[T any](ctx context.Context, s Source[T], by order) reading[T] {
	g := reading[T]{by: by, at: time.Now()}
	r := newRows(s, by)
	g.Remarks, g.err = s.Read(ctx, r.add)
	if errors.Is(g.err, conntrack.ErrInterrupted) {
		// Show the rows of an incomplete dump: the next reading replaces them soon.
		g.Fault, g.err = g.err, nil
	}
	g.rows, g.seen, g.matched, g.took = r.top.Sorted(), r.seen, r.matched, time.Since(g.at)
	return g
}

// reorder returns the reading in another order. It has the rows that were kept only; the
// next reading has all.
func (g reading[T]) reorder(s Source[T], by order) reading[T] {
	r := newRows(s, by)
	for _, x := range g.rows {
		r.sift(*x)
	}
	if g.rows = r.top.Sorted(); g.by.filter != by.filter {
		g.matched = r.matched
	}
	g.by = by
	return g
}
