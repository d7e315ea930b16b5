package report

import (
	"cmp"
	"io"
	"slices"
	"strings"
)

// Column is one of a table's.
type Column[T any] struct {
	Name string
	// Wide is a column that is there where more of them are asked for.
	Wide bool
	// Cell is harmless text; empty where there is nothing to say.
	Cell func(*T) string
	// Compare is negative where a comes before b; nil where rows stay as they come.
	Compare func(a, b *T) int
}

// words are in the order of the alphabet, and rows without a word last.
func words[T any](name string, word func(*T) string) Column[T] {
	return Column[T]{Name: name, Cell: func(x *T) string { return Clean(word(x)) }, Compare: func(a, b *T) int {
		x, y := word(a), word(b)
		if (x == "") != (y == "") {
			return -strings.Compare(x, y)
		}
		return strings.Compare(x, y)
	}}
}

// sentences are words that may have spaces.
func sentences[T any](name string, text func(*T) string) Column[T] {
	c := words(name, text)
	c.Cell = func(x *T) string { return Sentence(text(x)) }
	return c
}

// numbers have the greatest first.
func numbers[T any, N cmp.Ordered](name string, number func(*T) N, cell func(*T) string) Column[T] {
	return Column[T]{Name: name, Cell: cell, Compare: func(a, b *T) int { return cmp.Compare(number(b), number(a)) }}
}

// wide makes columns wide ones.
func wide[T any](columns ...Column[T]) []Column[T] {
	for i := range columns {
		columns[i].Wide = true
	}
	return columns
}

// Shown are the columns that a style shows.
func Shown[T any](columns []Column[T], s Style) []Column[T] {
	return slices.DeleteFunc(columns, func(c Column[T]) bool { return c.Wide && !s.Wide })
}

// Cells are those of a row.
func Cells[T any](columns []Column[T], x *T) []string {
	out := make([]string, len(columns))
	for i := range columns {
		out[i] = orDash(columns[i].Cell(x))
	}
	return out
}

// Listing writes rows for a person, as they come.
type Listing[T any] struct {
	columns []Column[T]
	t       *table
}

// NewListing begins a table of those columns that a style shows; End ends it.
func NewListing[T any](w io.Writer, s Style, columns []Column[T]) *Listing[T] {
	columns = Shown(columns, s)
	var head []string
	for _, c := range columns {
		head = append(head, c.Name)
	}
	return &Listing[T]{columns, newTable(w, s, head...)}
}

// Add writes a row.
func (t *Listing[T]) Add(x T) error { return t.t.row(Cells(t.columns, &x)...) }

// End writes what is left.
func (t *Listing[T]) End() error { return t.t.flush() }

// writeTable writes a table of all its rows.
func writeTable[T any](w io.Writer, s Style, columns []Column[T], all []T) error {
	t := NewListing(w, s, columns)
	for _, x := range all {
		if err := t.Add(x); err != nil {
			return err
		}
	}
	return t.End()
}
