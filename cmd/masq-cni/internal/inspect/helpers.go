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
		Short: "Lists control connections that have a helper, and the connections that helpers expect",
		Args:  arity.None,
		RunE: f.output.Run(func(c *cobra.Command, _ []string, w output.Writer) error {
			s := screen.Table(w, "connections", report.HelperColumns(), "POD")
			return screen.Show(c, f.screen, w, s, func(ctx context.Context) (screen.Result[report.Flow], error) {
				x, unread, err := readHelpers(ctx, n)
				return screen.Result[report.Flow]{Value: x, Text: x.WriteText, Rows: x.Rows(), Remarks: screen.Remarks{Fault: unread}}, err
			})
		}),
	}
}

// readHelpers returns the control connections of the node and the expected connections.
// unread is the error of records that cannot be read.
func readHelpers(ctx context.Context, n *node.Node) (x report.Helpers, unread, err error) {
	c, err := n.Open()
	if err != nil {
		return x, nil, err
	}
	defer func() { _ = c.Close() }()
	x = report.Helpers{Control: []report.Flow{}}
	now := time.Now()
	err = node.Dump(ctx, c.Conn, []node.Query{{}}, func(f *conntrack.Flow) bool {
		if f.Helper != (conntrack.Helper{}) || c.Owners.ClientOf(f) != nil {
			x.Control = append(x.Control, c.Owners.FlowOf(f, now))
		}
		return true
	})
	if err != nil {
		return x, nil, err
	}
	x.Expectations, err = expectations(ctx, c)
	return x, c.Unread, err
}

// expectations returns the connections that helpers expect.
func expectations(ctx context.Context, c node.Conn) ([]report.Expectation, error) {
	out := []report.Expectation{}
	for e, err := range c.Expectations(ctx) {
		if err != nil {
			return nil, err
		}
		out = append(out, report.ExpectationOf(e, c.Owners))
	}
	return out, nil
}
