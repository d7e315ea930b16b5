package main

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// source is where the rows of a table come from.
type source[T any] struct {
	name    string // of many: "flows"
	columns []report.Column[T]
	first   int // the column that sorts at first
	most    int // rows that are kept; 0: mostRows
	// tie is the order of rows that are alike in a column; nil: as they come.
	tie func(a, b *T) int
	// look calls add with each row there is.
	look func(ctx context.Context, add func(T)) (remarks, error)
}

// remarks are for the reader of the rows.
type remarks struct {
	note string
	// fault says what may be missing, and is the command's in the end.
	fault error
}

// mostRows bounds what is kept of a look, however many rows there are.
const mostRows = 5000

// row is one of them, with its number in the order in which they came.
type row[T any] struct {
	of T
	n  int
}

// order is which rows are shown, and which of them first.
type order struct {
	column  int
	reverse bool
	filter  string // in a row's text, whatever the case of its letters
}

// rows are the first of an order among all that come.
type rows[T any] struct {
	source[T]
	by        order
	top       *report.Top[row[T]]
	seen, fit int
}

func newRows[T any](s source[T], by order) *rows[T] {
	first := s.columns[by.column].Compare
	return &rows[T]{source: s, by: by, top: report.NewTop(cmp.Or(s.most, mostRows), func(a, b *row[T]) int {
		came := cmp.Compare(a.n, b.n)
		c := came
		if first != nil {
			c = first(&a.of, &b.of)
		}
		if by.reverse {
			c = -c
		}
		if c == 0 && s.tie != nil {
			c = s.tie(&a.of, &b.of)
		}
		return cmp.Or(c, came)
	})}
}

func (r *rows[T]) add(x T) {
	r.seen++
	r.sift(row[T]{x, r.seen})
}

func (r *rows[T]) sift(x row[T]) {
	// One space stands between cells: the widths of columns are nothing to search for.
	if r.by.filter != "" && !strings.Contains(spaced(strings.Join(report.Cells(r.columns, &x.of), " ")), spaced(r.by.filter)) {
		return
	}
	r.fit++
	r.top.Add(x)
}

func spaced(line string) string { return strings.ToLower(strings.Join(strings.Fields(line), " ")) }

// again puts what was kept into another order, until a look has all of it.
func (g got[T]) again(s source[T], by order) got[T] {
	r := newRows(s, by)
	for _, x := range g.rows {
		r.sift(*x)
	}
	if g.rows = r.top.Sorted(); g.by.filter != by.filter {
		g.fit = r.fit
	}
	g.by = by
	return g
}

// got is what a look has found.
type got[T any] struct {
	remarks
	rows      []*row[T]
	by        order
	seen, fit int // rows there were, and those that fit the filter
	took      time.Duration
	at        time.Time
	err       error // why there are none
}

// look finds the first rows of an order.
func look[T any](ctx context.Context, s source[T], by order) got[T] {
	g := got[T]{by: by, at: time.Now()}
	r := newRows(s, by)
	g.remarks, g.err = s.look(ctx, r.add)
	if errors.Is(g.err, conntrack.ErrInterrupted) {
		// What is shown is out of date a moment later anyway.
		g.fault, g.err = g.err, nil
	}
	g.rows, g.seen, g.fit, g.took = r.top.Sorted(), r.seen, r.fit, time.Since(g.at)
	return g
}
