package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

func inspectHelpersCommand(n *node, out *output) *cobra.Command {
	return &cobra.Command{
		Use:   "helpers",
		Short: "Lists control connections that have a helper, and what helpers wait for",
		Args:  cobra.NoArgs,
		RunE:  out.run(n.inspectHelpers),
	}
}

func (n *node) inspectHelpers(c *cobra.Command, _ []string, a answer) error {
	v, err := n.live()
	if err != nil {
		return err
	}
	defer func() { _ = v.Close() }()
	x := report.Helpers{Control: []report.Flow{}, Expectations: []report.Expectation{}}
	now := time.Now()
	err = dump(c.Context(), v.Conn, []query{{}}, func(f *conntrack.Flow) bool {
		if f.Helper != (conntrack.Helper{}) {
			from, to := v.owners.Ends(f)
			x.Control = append(x.Control, report.FlowOf(f, from, to, now))
		}
		return true
	})
	if err != nil {
		return err
	}
	for e, err := range v.Expectations(c.Context()) {
		if err != nil {
			return err
		}
		x.Expectations = append(x.Expectations, report.ExpectationOf(e, v.owners))
	}
	if err := a.show(x, x.WriteText); err != nil {
		return err
	}
	return v.unread
}
