package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

func inspectHelpersCommand(n *node, out *output, w *watching) *cobra.Command {
	return &cobra.Command{
		Use:   "helpers",
		Short: "Lists control connections that have a helper, and what helpers wait for",
		Args:  arity.None,
		RunE: out.run(func(c *cobra.Command, _ []string, a answer) error {
			s := table(a, "connections", report.HelperColumns(), "POD")
			return show(c, *w, a, s, func(ctx context.Context) (found[report.Flow], error) {
				x, unread, err := n.helpers(ctx)
				return found[report.Flow]{value: x, text: x.WriteText, rows: x.Rows(), remarks: remarks{fault: unread}}, err
			})
		}),
	}
}

// helpers are the control connections of the node, and what helpers wait for. Unread
// are the records that cannot be read.
func (n *node) helpers(ctx context.Context) (x report.Helpers, unread, err error) {
	v, err := n.live()
	if err != nil {
		return x, nil, err
	}
	defer func() { _ = v.Close() }()
	x = report.Helpers{Control: []report.Flow{}, Expectations: []report.Expectation{}}
	now := time.Now()
	err = dump(ctx, v.Conn, []query{{}}, func(f *conntrack.Flow) bool {
		if f.Helper != (conntrack.Helper{}) {
			from, to := v.owners.Ends(f)
			x.Control = append(x.Control, report.FlowOf(f, from, to, now))
		}
		return true
	})
	if err != nil {
		return x, nil, err
	}
	for e, err := range v.Expectations(ctx) {
		if err != nil {
			return x, nil, err
		}
		x.Expectations = append(x.Expectations, report.ExpectationOf(e, v.owners))
	}
	return x, v.unread, nil
}
