package node

import (
	"context"
	"errors"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// MaxDumps is how many times a command reads the conntrack table if the kernel calls the
// dumps incomplete.
const MaxDumps = 5

// Query selects flows.
type Query struct {
	conntrack.Filter                            // applied by the kernel
	Except           func(*conntrack.Flow) bool // flows to leave out; nil for none
}

// Dump calls f with the flows of each query until f returns false.
func Dump(ctx context.Context, c *conntrack.Conn, queries []Query, f func(*conntrack.Flow) bool) error {
	for _, q := range queries {
		for x, err := range c.Dump(ctx, q.Filter) {
			if err != nil {
				return err
			}
			if q.Except != nil && q.Except(x) {
				continue
			}
			if !f(x) {
				return nil
			}
		}
	}
	return nil
}

// Tally counts the flows that queries select, by owner. No two queries may select the same
// flow. If the kernel calls a dump incomplete, Tally begins again.
//
// If begin is not nil, Tally calls it at each beginning, and calls what it returns with
// each flow.
func Tally(ctx context.Context, owners *report.Owners, c *conntrack.Conn, queries []Query, begin func() func(*conntrack.Flow)) (t *report.Tally, err error) {
	for range MaxDumps {
		t = report.NewTally(owners)
		add := t.Add
		if begin != nil {
			also := begin()
			add = func(f *conntrack.Flow) {
				t.Add(f)
				also(f)
			}
		}
		err = Dump(ctx, c, queries, func(f *conntrack.Flow) bool { add(f); return true })
		if !errors.Is(err, conntrack.ErrInterrupted) {
			break
		}
	}
	return t, err
}
