package inspect

import (
	"context"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/exitcode"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/screen"
	"github.com/masq-cni/masq-cni/pkg/compare"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

func rulesCommand(n *node.Node, f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "rules",
		Short: "Lists the rules: ID, text, why each is there, and what it has counted",
		Long: `Lists the rules of table inet masq in the order of its chains, beside those that were
asked for: a rule is ok, missing, changed (or out of place) or unexpected. The ID is
the rule's comment in the kernel.`,
		Args: arity.None,
		RunE: f.output.Run(func(c *cobra.Command, _ []string, w output.Writer) error {
			return screen.Show(c, f.screen, w, screen.Table(w, "rules", report.RuleColumns(), "CHAIN"), func(context.Context) (screen.Result[report.Rule], error) {
				all, unread, err := rules(n)
				text := func(w io.Writer, s report.Style) error { return report.WriteRules(w, s, all) }
				return screen.Result[report.Rule]{Value: all, Text: text, Rows: all, Remarks: screen.Remarks{Fault: unread}}, err
			})
		}),
	}
}

// rules are those that are there and those that should be. Unread are the records that
// cannot be read.
func rules(n *node.Node) (all []report.Rule, unread, err error) {
	v, err := n.Snapshot()
	if err != nil {
		return nil, nil, err
	}
	counted, err := node.QueryRules((*nft.Conn).CountedRules)
	if err != nil {
		return nil, nil, err
	}
	changes, err := drift(v)
	if err != nil {
		return nil, nil, err
	}
	return report.RulesOf(v.Desired(), counted, changes), v.Unread, nil
}

func driftCommand(n *node.Node, f *flags) *cobra.Command {
	return exitcode.Answering(&cobra.Command{
		Use:   "drift",
		Short: "Says how rules and links differ from what was asked for",
		Long: `Compares the rules and elements of table inet masq with what the records and the
node's policy ask for, and the links of containers with what ADD made of them: both
ends, addresses, routes, forwarding. CHECK makes the same comparison. What cannot be
compared from here, such as a container whose network namespace this process may not
enter, is listed with the reason, and is no drift.
Exit code 0: no drift; 1: drift; 2: the comparison failed.`,
		Args: arity.None,
		RunE: f.output.Run(func(c *cobra.Command, _ []string, w output.Writer) error {
			return screen.Show(c, f.screen, w, screen.Table(w, "differences", report.ChangeColumns(), "KIND"), func(context.Context) (screen.Result[report.Change], error) {
				d, err := allDrift(n)
				r := screen.Result[report.Change]{Value: d, Text: d.WriteText, Rows: d.Changes}
				if d.Drift {
					r.Fault = exitcode.ErrFailed
				}
				return r, err
			})
		}),
	})
}

func allDrift(n *node.Node) (report.Drift, error) {
	v, err := n.Snapshot()
	if err != nil {
		return report.Drift{}, err
	}
	changes, err := drift(v)
	if err != nil {
		return report.Drift{}, err
	}
	links, _, err := compareLinks(v, len(v.Records))
	if err != nil {
		return report.Drift{}, err
	}
	faults, notChecked := compare.Split(append(compare.OfRules("", changes), links...))
	return report.Drift{
		Drift: len(faults) > 0, Changes: report.ChangesOf(faults, v.Owners), NotChecked: report.ChangesOf(notChecked, v.Owners),
	}, nil
}

// wanted reports whether the desired state has a table.
func wanted(v node.Snapshot) bool { return len(v.Desired().Table.Chains) > 0 }

// drift returns the differences between the rules and the desired state.
func drift(v node.Snapshot) ([]nft.Difference, error) {
	return node.QueryRules(func(c *nft.Conn) ([]nft.Difference, error) { return compareRules(v, c) })
}

// compareRules returns the differences between the kernel and the records. What belongs to
// attachments whose records cannot be read is none: unexpected objects may be theirs.
func compareRules(v node.Snapshot, c *nft.Conn) ([]nft.Difference, error) {
	changes, err := c.Drift(v.Desired().Table, v.Desired().Pending)
	if v.Unread != nil {
		changes = slices.DeleteFunc(changes, func(x nft.Difference) bool { return x.Reason == masq.Unexpected })
	}
	for _, e := range store.ReadErrors(v.Unread) {
		changes = append(changes, nft.Difference{Kind: "record", Object: e.Path, Reason: masq.Changed, Detail: "cannot be read: " + e.Err.Error() + "; its rules are left as they are"})
	}
	return changes, err
}
