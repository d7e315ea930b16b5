package report

import (
	"cmp"
	"io"
	"slices"
	"strings"
)

// Column is a column of a table with rows of type T.
type Column[T any] struct {
	Name string
	// Wide is true if only Style.Wide shows the column.
	Wide bool
	// Cell returns the text of a row, escaped by Clean, or "".
	Cell func(*T) string
	// Compare returns a negative number if a comes before b. It is nil if rows cannot be
	// sorted by the column.
	Compare func(a, b *T) int
}

// wordColumn returns a column of words in alphabetical order, with empty cells last.
func wordColumn[T any](name string, word func(*T) string) Column[T] {
	return Column[T]{Name: name, Cell: func(x *T) string { return Clean(word(x)) }, Compare: func(a, b *T) int {
		x, y := word(a), word(b)
		if (x == "") != (y == "") {
			return -strings.Compare(x, y)
		}
		return strings.Compare(x, y)
	}}
}

// textColumn is wordColumn for text with spaces.
func textColumn[T any](name string, text func(*T) string) Column[T] {
	c := wordColumn(name, text)
	c.Cell = func(x *T) string { return CleanText(text(x)) }
	return c
}

// numberColumn returns a column of numbers, the greatest first.
func numberColumn[T any, N cmp.Ordered](name string, number func(*T) N, cell func(*T) string) Column[T] {
	return Column[T]{Name: name, Cell: cell, Compare: func(a, b *T) int { return cmp.Compare(number(b), number(a)) }}
}

// asWide sets Wide.
func asWide[T any](columns ...Column[T]) []Column[T] {
	for i := range columns {
		columns[i].Wide = true
	}
	return columns
}

// VisibleColumns returns the columns that a style shows.
func VisibleColumns[T any](columns []Column[T], s Style) []Column[T] {
	return slices.DeleteFunc(columns, func(c Column[T]) bool { return c.Wide && !s.Wide })
}

// Cells returns the cells of a row.
func Cells[T any](columns []Column[T], x *T) []string {
	out := make([]string, len(columns))
	for i := range columns {
		out[i] = orDash(columns[i].Cell(x))
	}
	return out
}

// Listing writes rows as a table.
type Listing[T any] struct {
	columns []Column[T]
	t       *table
}

// NewListing begins a table with the columns that a style shows. The caller calls Add for
// each row, and then End.
func NewListing[T any](w io.Writer, s Style, columns []Column[T]) *Listing[T] {
	columns = VisibleColumns(columns, s)
	var head []string
	for _, c := range columns {
		head = append(head, c.Name)
	}
	return &Listing[T]{columns, newTable(w, s, head...)}
}

// Add writes a row.
func (t *Listing[T]) Add(x T) error { return t.t.row(Cells(t.columns, &x)...) }

// End writes the remaining rows.
func (t *Listing[T]) End() error { return t.t.flush() }

// writeTable writes a table with all rows.
func writeTable[T any](w io.Writer, s Style, columns []Column[T], all []T) error {
	t := NewListing(w, s, columns)
	for _, x := range all {
		if err := t.Add(x); err != nil {
			return err
		}
	}
	return t.End()
}
