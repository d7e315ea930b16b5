package inspect

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/exitcode"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/screen"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/summary"
	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// showSummary shows the health of the node, its problems and its figures.
func showSummary(c *cobra.Command, n *node.Node, f *flags, w output.Writer) error {
	f.doctor.MaxContainers = summary.MaxContainers
	var losses portpool.LossTracker // with --watch it covers all readings
	return screen.ShowText(c, f.screen, w, "NODE", func(ctx context.Context) (screen.Result[string], error) {
		examined, err := summary.Open(ctx, n, f.doctor, &losses)
		if err != nil {
			return screen.Result[string]{}, err
		}
		s := summary.Examine(ctx, examined)
		return screen.Result[string]{Value: s, Text: s.WriteText, Remarks: screen.Remarks{Fault: faultOf(s.Problems)}}, nil
	})
}

// faultOf returns the error for the exit code.
func faultOf(all report.Problems) error {
	switch all.Worst() {
	case report.SeverityError:
		return exitcode.ErrFailed
	case report.SeverityUnknown:
		return exitcode.QueryError{Err: errors.New(all[0].String())}
	}
	return nil
}
