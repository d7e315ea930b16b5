package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// source is where the rows of a table come from, and how they are written.
type source[T any] struct {
	name string // "flows"
	// columns are those that write writes, in its order.
	columns []column[T]
	first   int // the column that sorts at first
	most    int // rows that are kept
	// tie is the order of rows that are alike in a column.
	tie func(a, b *T) int
	// write writes a heading, and a line for each row.
	write func(w io.Writer, rows []T) error
	// look calls add with each row there is. A remark is for the reader of the rows.
	look func(ctx context.Context, add func(T)) (remark, err error)
}

// mostRows bounds what is kept of a look, however many rows there are.
const mostRows = 5000

// column is a heading, and the order of rows by what is below it.
type column[T any] struct {
	name    string
	compare func(a, b *T) int
}

// words are in the order of the alphabet, and rows without a word last.
func words[T any](name string, key func(*T) string) column[T] {
	return column[T]{name, func(a, b *T) int {
		x, y := key(a), key(b)
		if (x == "") != (y == "") {
			return -strings.Compare(x, y)
		}
		return strings.Compare(x, y)
	}}
}

// numbers have the greatest first.
func numbers[T any, N cmp.Ordered](name string, key func(*T) N) column[T] {
	return column[T]{name, func(a, b *T) int { return cmp.Compare(key(b), key(a)) }}
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
	kept      []T
	unsifted  []T
	seen, fit int
}

// sifted is how many rows are written at once to be searched.
const sifted = 512

func (r *rows[T]) add(x T) {
	r.seen++
	if r.unsifted = append(r.unsifted, x); len(r.unsifted) == sifted {
		r.sift()
	}
}

func (r *rows[T]) sift() {
	fit := r.unsifted
	if r.by.filter != "" {
		_, lines := r.lines(fit)
		fit = fit[:0]
		want := spaced(r.by.filter)
		for i, l := range lines {
			if strings.Contains(spaced(l), want) {
				fit = append(fit, r.unsifted[i])
			}
		}
	}
	r.fit += len(fit)
	r.kept = append(r.kept, fit...)
	clear(r.unsifted)
	r.unsifted = r.unsifted[:0]
	if len(r.kept) >= 2*r.most {
		r.cut()
	}
}

// spaced is a line as it is compared: the widths of columns are nothing to search for.
func spaced(line string) string { return strings.ToLower(strings.Join(strings.Fields(line), " ")) }

func (r *rows[T]) cut() {
	first := r.columns[r.by.column].compare
	slices.SortFunc(r.kept, func(a, b T) int {
		c := first(&a, &b)
		if r.by.reverse {
			c = -c
		}
		return cmp.Or(c, r.tie(&a, &b))
	})
	if len(r.kept) > r.most {
		clear(r.kept[r.most:])
		r.kept = r.kept[:r.most]
	}
}

// lines are the text of rows, and of their heading.
func (s source[T]) lines(rows []T) (head string, lines []string) {
	var b bytes.Buffer
	_ = s.write(&b, rows) // to memory
	head, rest, _ := strings.Cut(strings.TrimSuffix(b.String(), "\n"), "\n")
	if rest == "" {
		return head, nil
	}
	return head, strings.Split(rest, "\n")
}

// again puts what was kept into another order, until a look has all of it.
func (g got[T]) again(s source[T], by order) got[T] {
	r := rows[T]{source: s, by: by}
	for _, x := range g.rows {
		r.add(x)
	}
	r.sift()
	r.cut()
	if g.rows = r.kept; g.by.filter != by.filter {
		g.fit = r.fit
	}
	g.by = by
	return g
}

// got is what a look has found.
type got[T any] struct {
	rows      []T
	by        order
	seen, fit int // rows there were, and those that fit the filter
	took      time.Duration
	at        time.Time
	// remark is for the reader of the rows, err says why there are none.
	remark, err error
}

// look finds the first rows of an order.
func look[T any](ctx context.Context, s source[T], by order) got[T] {
	g := got[T]{by: by, at: time.Now()}
	r := rows[T]{source: s, by: by}
	g.remark, g.err = s.look(ctx, r.add)
	if errors.Is(g.err, conntrack.ErrInterrupted) {
		// What is shown is out of date a moment later anyway.
		g.remark, g.err = g.err, nil
	}
	r.sift()
	r.cut()
	g.rows, g.seen, g.fit, g.took = r.kept, r.seen, r.fit, time.Since(g.at)
	return g
}
