package screen

import (
	"cmp"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// row is a row with its position in the source.
type row[T any] struct {
	value    T
	position int
}

// order tells which rows are shown, and which of them come first.
type order struct {
	column  int
	reverse bool
	filter  string // text that a row contains, in upper or lower case
}

// rows keeps the first rows of an order.
type rows[T any] struct {
	columns       []report.Column[T]
	filter        string
	top           *report.Top[row[T]]
	seen, matched int
}

func newRows[T any](s Source[T], by order) *rows[T] {
	compare := s.Columns[by.column].Compare
	return &rows[T]{columns: s.Columns, filter: normalized(by.filter), top: report.NewTop(min(cmp.Or(s.Max, maxRows), maxRows), func(a, b *row[T]) int {
		position := cmp.Compare(a.position, b.position)
		c := position
		if compare != nil {
			c = compare(&a.value, &b.value)
		}
		if by.reverse {
			c = -c
		}
		if c == 0 && s.Tie != nil {
			c = s.Tie(&a.value, &b.value)
		}
		return cmp.Or(c, position)
	})}
}

func (r *rows[T]) add(x T) {
	r.seen++
	r.sift(row[T]{x, r.seen})
}

// sift keeps x if it matches the filter and is among the first rows.
func (r *rows[T]) sift(x row[T]) {
	if r.filter != "" && !strings.Contains(normalized(strings.Join(report.Cells(r.columns, &x.value), " ")), r.filter) {
		return
	}
	r.matched++
	r.top.Add(x)
}

// normalized returns text in lower case, with single spaces: the filter ignores the widths
// of columns.
func normalized(text string) string { return strings.ToLower(strings.Join(strings.Fields(text), " ")) }
