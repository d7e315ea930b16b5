package inspect

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/screen"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

func helpersCommand(n *node.Node, f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "helpers",
		Short: "Lists control connections that have a helper, and what helpers wait for",
		Args:  arity.None,
		RunE: f.output.Run(func(c *cobra.Command, _ []string, w output.Writer) error {
			s := screen.Table(w, "connections", report.HelperColumns(), "POD")
			return screen.Show(c, f.screen, w, s, func(ctx context.Context) (screen.Result[report.Flow], error) {
				x, unread, err := helpers(ctx, n)
				return screen.Result[report.Flow]{Value: x, Text: x.WriteText, Rows: x.Rows(), Remarks: screen.Remarks{Fault: unread}}, err
			})
		}),
	}
}

// helpers are the control connections of the node, and what helpers wait for. Unread
// are the records that cannot be read.
func helpers(ctx context.Context, n *node.Node) (x report.Helpers, unread, err error) {
	v, err := n.Open()
	if err != nil {
		return x, nil, err
	}
	defer func() { _ = v.Close() }()
	x = report.Helpers{Control: []report.Flow{}, Expectations: []report.Expectation{}}
	now := time.Now()
	err = node.Dump(ctx, v.Conn, []node.Query{{}}, func(f *conntrack.Flow) bool {
		if f.Helper != (conntrack.Helper{}) {
			from, to := v.Owners.Ends(f)
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
		x.Expectations = append(x.Expectations, report.ExpectationOf(e, v.Owners))
	}
	return x, v.Unread, nil
}
