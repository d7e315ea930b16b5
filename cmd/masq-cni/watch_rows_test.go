package main

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

// numbered has rows of a number and a word.
type numbered struct {
	n    int
	word string
}

func numberedSource(all []numbered, most int) source[numbered] {
	return source[numbered]{
		name: "rows", most: most,
		columns: []report.Column[numbered]{
			{Name: "NUMBER", Cell: func(x *numbered) string { return strconv.Itoa(x.n) }, Compare: func(a, b *numbered) int { return b.n - a.n }},
			{Name: "WORD", Cell: func(x *numbered) string { return report.Clean(x.word) }, Compare: func(a, b *numbered) int { return strings.Compare(a.word, b.word) }},
		},
		look: func(_ context.Context, add func(numbered)) (remarks, error) {
			for _, x := range all {
				add(x)
			}
			return remarks{}, nil
		},
	}
}

// Of many rows the first are kept, and all are counted.
func TestWatchKeepsTheFirst(t *testing.T) {
	var all []numbered
	for _, i := range rand.Perm(100_000) {
		all = append(all, numbered{i, fmt.Sprintf("word%05d", i)})
	}
	s := numberedSource(all, 100)
	s.columns = append(s.columns, report.Column[numbered]{Name: "COMING", Cell: func(*numbered) string { return "" }})
	for _, tt := range []struct {
		by         order
		fit        int
		first, end int // the first row's number, and the last one's
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
		g := look(t.Context(), s, tt.by)
		if g.seen != len(all) || g.fit != tt.fit || len(g.rows) != min(tt.fit, 100) {
			t.Errorf("%+v: %d rows of %d that fit of %d", tt.by, len(g.rows), g.fit, g.seen)
			continue
		}
		if n := len(g.rows); n > 0 && (g.rows[0].of.n != tt.first || g.rows[n-1].of.n != tt.end) {
			t.Errorf("%+v: from %v to %v", tt.by, g.rows[0], g.rows[n-1])
		}
		if cap(g.rows) > 4*100 {
			t.Errorf("%+v: there is room for %d rows", tt.by, cap(g.rows))
		}
	}
}

// A dump that the kernel calls incomplete is shown, and any other error is one.
func TestWatchInterrupted(t *testing.T) {
	failed := errors.New("failed")
	for _, err := range []error{conntrack.ErrInterrupted, failed} {
		s := numberedSource(nil, 10)
		s.look = func(_ context.Context, add func(numbered)) (remarks, error) {
			add(numbered{})
			return remarks{}, fmt.Errorf("dump: %w", err)
		}
		g := look(t.Context(), s, order{})
		if interrupted := errors.Is(err, conntrack.ErrInterrupted); errors.Is(g.fault, err) != interrupted || errors.Is(g.err, err) == interrupted {
			t.Errorf("%v: fault %v, error %v", err, g.fault, g.err)
		}
	}
}
