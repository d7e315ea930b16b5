package inspect

import (
	"context"
	"errors"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// tally counts the flows that queries select, by owner. No two queries may select the same
// flow. If the kernel calls a dump incomplete, tally begins again.
//
// If begin is not nil, tally calls it at each beginning, and calls what it returns with
// each flow.
func tally(ctx context.Context, owners *report.Owners, c *conntrack.Conn, queries []node.Query, begin func() func(*conntrack.Flow)) (t *report.Tally, err error) {
	for range node.MaxDumps {
		t = report.NewTally(owners)
		add := t.Add
		if begin != nil {
			other := begin()
			add = func(f *conntrack.Flow) {
				t.Add(f)
				other(f)
			}
		}
		err = node.Dump(ctx, c, queries, func(f *conntrack.Flow) bool { add(f); return true })
		if !errors.Is(err, conntrack.ErrInterrupted) {
			break
		}
	}
	return t, err
}
