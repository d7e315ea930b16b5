package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// The columns that sort are those that are written.
func TestWatchColumns(t *testing.T) {
	for _, wide := range []bool{false, true} {
		var flows, pods strings.Builder
		if err := report.NewFlowTable(&flows, report.Style{Wide: wide}).End(); err != nil {
			t.Fatal(err)
		}
		if err := report.WriteAttachments(&pods, report.Style{Wide: wide}, nil, time.Now()); err != nil {
			t.Fatal(err)
		}
		var flowNames, podNames []string
		for _, c := range flowColumns(wide) {
			flowNames = append(flowNames, c.name)
		}
		for _, c := range podColumns(wide) {
			podNames = append(podNames, c.name)
		}
		if got, want := flowNames, strings.Fields(flows.String()); !slices.Equal(got, want) {
			t.Errorf("flows: %v, not %v", got, want)
		}
		if got, want := podNames, strings.Fields(pods.String()); !slices.Equal(got, want) {
			t.Errorf("pods: %v, not %v", got, want)
		}
	}
}

// numbered has rows of a number and a word.
type numbered struct {
	n    int
	word string
}

func numberedSource(all []numbered, most int) source[numbered] {
	return source[numbered]{
		name: "rows", most: most,
		columns: []column[numbered]{
			numbers("NUMBER", func(x *numbered) int { return x.n }),
			words("WORD", func(x *numbered) string { return x.word }),
		},
		tie: func(*numbered, *numbered) int { return 0 },
		write: func(w io.Writer, rows []numbered) error {
			_, err := fmt.Fprintf(w, "%-20s%s\n", "NUMBER", "WORD")
			for _, x := range rows {
				_, _ = fmt.Fprintf(w, "%-20d%s\n", x.n, report.Clean(x.word)) // to memory
			}
			return err
		},
		look: func(_ context.Context, add func(numbered)) (error, error) {
			for _, x := range all {
				add(x)
			}
			return nil, nil
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
	} {
		g := look(t.Context(), s, tt.by)
		if g.seen != len(all) || g.fit != tt.fit || len(g.rows) != min(tt.fit, 100) {
			t.Errorf("%+v: %d rows of %d that fit of %d", tt.by, len(g.rows), g.fit, g.seen)
			continue
		}
		if n := len(g.rows); n > 0 && (g.rows[0].n != tt.first || g.rows[n-1].n != tt.end) {
			t.Errorf("%+v: from %v to %v", tt.by, g.rows[0], g.rows[n-1])
		}
		if cap(g.rows) > 4*(100+sifted) {
			t.Errorf("%+v: there is room for %d rows", tt.by, cap(g.rows))
		}
	}
}

// A dump that the kernel calls incomplete is shown, and any other error is one.
func TestWatchInterrupted(t *testing.T) {
	failed := errors.New("failed")
	for _, err := range []error{conntrack.ErrInterrupted, failed} {
		s := numberedSource(nil, 10)
		s.look = func(_ context.Context, add func(numbered)) (error, error) {
			add(numbered{})
			return nil, fmt.Errorf("dump: %w", err)
		}
		g := look(t.Context(), s, order{})
		if interrupted := errors.Is(err, conntrack.ErrInterrupted); errors.Is(g.remark, err) != interrupted || errors.Is(g.err, err) == interrupted {
			t.Errorf("%v: remark %v, error %v", err, g.remark, g.err)
		}
	}
}

// Numbers have the greatest first, words the first of the alphabet, and what is not
// there is last.
func TestWatchOrders(t *testing.T) {
	at := func(source string, port uint16, nat string) report.Flow {
		u := report.Tuple{Source: netip.MustParseAddr(source), SourcePort: port}
		return report.Flow{Original: u, Translated: u, NAT: nat}
	}
	a, b := at("10.0.0.9", 5, "none"), at("10.0.0.10", 1, "dnat")
	a.PodNamespace, a.PodName, a.Bytes.Reply = "shop", "web", 10
	b.Bytes.Original, b.Duration, a.State = 11, 1, "assured"
	want := map[string]int{
		"POD": -1, "DIR": 0, "PROTO": 0, "SOURCE": -1, "DESTINATION": 0, "TRANSLATED": 1, "STATE": -1, "BYTES": 1, "AGE": 1,
	}
	for _, c := range flowColumns(false) {
		if got := c.compare(&a, &b); got != want[c.name] || c.compare(&b, &a) != -want[c.name] {
			t.Errorf("%s: %d, not %d", c.name, got, want[c.name])
		}
	}
}
