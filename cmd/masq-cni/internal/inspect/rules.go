package inspect

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/screen"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

func rulesCommand(n *node.Node, f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "rules",
		Short: "Lists the rules: ID, text, reason, and counters",
		Long: `Lists the rules of table inet masq in the order of its chains, and compares them with
the desired state: a rule is ok, missing, changed (or out of place) or unexpected. The
ID of a rule is its comment in the kernel. If masqd serves helpers, the rules of its
table inet masq-helpers follow.`,
		Args: arity.None,
		RunE: f.output.Run(func(c *cobra.Command, _ []string, w output.Writer) error {
			return screen.Show(c, f.screen, w, screen.Table(w, "rules", report.RuleColumns(), "CHAIN"), func(context.Context) (screen.Result[report.Rule], error) {
				all, unread, err := readRules(n)
				text := func(w io.Writer, s report.Style) error { return report.WriteRules(w, s, all) }
				return screen.Result[report.Rule]{Value: all, Text: text, Rows: all, Remarks: screen.Remarks{Fault: unread}}, err
			})
		}),
	}
}

// readRules returns the rules of the kernel and of the desired state. unread is the error
// of records that cannot be read.
func readRules(n *node.Node) (all []report.Rule, unread, err error) {
	s, err := n.Snapshot()
	if err != nil {
		return nil, nil, err
	}
	counted, err := node.QueryRules((*nft.Conn).CountedRules)
	if err != nil {
		return nil, nil, err
	}
	changes, err := s.TableDrift()
	if err != nil {
		return nil, nil, err
	}
	all = report.RulesOf(s.Desired(), counted, changes)
	if counted, err = node.QueryRules((*nft.Conn).CountedHelperRules); err != nil {
		return nil, nil, err
	}
	listeners, err := node.QueryRules(func(c *nft.Conn) ([]nft.HelperElement, error) { return c.HelperElements(ruleset.ListenerSet) })
	if err != nil {
		return nil, nil, err
	}
	return append(all, report.HelperRulesOf(s.Desired(), listeners, counted)...), s.Unread, nil
}
