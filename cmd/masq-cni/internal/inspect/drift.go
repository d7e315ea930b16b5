package inspect

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/exitcode"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/screen"
	"github.com/masq-cni/masq-cni/pkg/compare"
	"github.com/masq-cni/masq-cni/pkg/report"
)

func driftCommand(n *node.Node, f *flags) *cobra.Command {
	return exitcode.Answering(&cobra.Command{
		Use:   "drift",
		Short: "Lists the differences of rules and links from the desired state",
		Long: `Compares the rules and elements of table inet masq with the desired state, which
follows from the records and the node's policy. Compares the links of containers with
what ADD made: both ends, addresses, routes, forwarding. CHECK makes the same comparison.

An object that could not be compared is listed with the reason, and does not count as
drift: for example a container whose network namespace this process may not enter.

Exit code 0: no drift; 1: drift; 2: the comparison failed.`,
		Args: arity.None,
		RunE: f.output.Run(func(c *cobra.Command, _ []string, w output.Writer) error {
			return screen.Show(c, f.screen, w, screen.Table(w, "differences", report.ChangeColumns(), "KIND"), func(context.Context) (screen.Result[report.Change], error) {
				d, err := drift(n)
				r := screen.Result[report.Change]{Value: d, Text: d.WriteText, Rows: d.Changes}
				if d.Drift {
					r.Fault = exitcode.ErrFailed
				}
				return r, err
			})
		}),
	})
}

// drift returns the differences of the table and of all links from the desired state.
func drift(n *node.Node) (report.Drift, error) {
	s, err := n.Snapshot()
	if err != nil {
		return report.Drift{}, err
	}
	changes, err := s.TableDrift()
	if err != nil {
		return report.Drift{}, err
	}
	links, _, err := s.CompareLinks(len(s.Records))
	if err != nil {
		return report.Drift{}, err
	}
	faults, notChecked := compare.Split(append(compare.OfRules("", changes), links...))
	return report.Drift{
		Drift: len(faults) > 0, Changes: report.ChangesOf(faults, s.Owners), NotChecked: report.ChangesOf(notChecked, s.Owners),
	}, nil
}
