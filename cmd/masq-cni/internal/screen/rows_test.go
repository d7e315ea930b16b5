package screen

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// numbered is a row with a number and a word.
type numbered struct {
	n    int
	word string
}

func numberedSource(all []numbered, most int) Source[numbered] {
	return Source[numbered]{
		Name: "rows", Max: most,
		Columns: []report.Column[numbered]{
			{Name: "NUMBER", Cell: func(x *numbered) string { return strconv.Itoa(x.n) }, Compare: func(a, b *numbered) int { return b.n - a.n }},
			{Name: "WORD", Cell: func(x *numbered) string { return report.Clean(x.word) }, Compare: func(a, b *numbered) int { return strings.Compare(a.word, b.word) }},
		},
		Read: func(_ context.Context, add func(numbered)) (Remarks, error) {
			for _, x := range all {
				add(x)
			}
			return Remarks{}, nil
		},
	}
}

// TestFirstRowsAreKept checks that a reading keeps the first rows, and counts all.
func TestFirstRowsAreKept(t *testing.T) {
	var all []numbered
	for _, i := range rand.Perm(100_000) {
		all = append(all, numbered{i, fmt.Sprintf("word%05d", i)})
	}
	s := numberedSource(all, 100)
	s.Columns = append(s.Columns, report.Column[numbered]{Name: "COMING", Cell: func(*numbered) string { return "" }})
	for _, tt := range []struct {
		by         order
		matched    int
		first, end int // numbers of the first and the last row
	}{
		{order{}, 100_000, 99_999, 99_900},
		{order{reverse: true}, 100_000, 0, 99},
		{order{column: 1}, 100_000, 0, 99},
		{order{column: 1, reverse: true}, 100_000, 99_999, 99_900},
		{order{filter: "Word0000"}, 10, 9, 0},
		{order{filter: "12345 word12345"}, 1, 12345, 12345},
		{order{filter: "word00"}, 1000, 999, 900},
		{order{filter: "none"}, 0, 0, 0},
		{order{column: 2}, 100_000, all[0].n, all[99].n},
		{order{column: 2, reverse: true}, 100_000, all[99_999].n, all[99_900].n},
	} {
		g := read(t.Context(), s, tt.by)
		if g.seen != len(all) || g.matched != tt.matched || len(g.rows) != min(tt.matched, 100) {
			t.Errorf("%+v: %d rows; %d of %d match", tt.by, len(g.rows), g.matched, g.seen)
			continue
		}
		if n := len(g.rows); n > 0 && (g.rows[0].value.n != tt.first || g.rows[n-1].value.n != tt.end) {
			t.Errorf("%+v: rows from %v to %v", tt.by, g.rows[0], g.rows[n-1])
		}
		if cap(g.rows) > 4*100 {
			t.Errorf("%+v: capacity for %d rows", tt.by, cap(g.rows))
		}
	}
}

// TestInterruptedDump checks that the rows of an incomplete dump are shown, and that other
// errors are errors.
func TestInterruptedDump(t *testing.T) {
	failed := errors.New("failed")
	for _, err := range []error{conntrack.ErrInterrupted, failed} {
		s := numberedSource(nil, 10)
		s.Read = func(_ context.Context, add func(numbered)) (Remarks, error) {
			add(numbered{})
			return Remarks{}, fmt.Errorf("dump: %w", err)
		}
		g := read(t.Context(), s, order{})
		if interrupted := errors.Is(err, conntrack.ErrInterrupted); errors.Is(g.Fault, err) != interrupted || errors.Is(g.err, err) == interrupted {
			t.Errorf("%v: fault %v, error %v", err, g.Fault, g.err)
		}
	}
}
