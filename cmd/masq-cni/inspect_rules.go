package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/pkg/compare"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
)

func inspectRulesCommand(n *node, out *output, w *watching) *cobra.Command {
	return &cobra.Command{
		Use:   "rules",
		Short: "Lists the rules: ID, text, why each is there, and what it has counted",
		Long: `Lists the rules of table inet masq in the order of its chains, beside those that were
asked for: a rule is ok, missing, changed (or out of place) or unexpected. The ID is
the rule's comment in the kernel.`,
		Args: arity.None,
		RunE: out.run(func(c *cobra.Command, _ []string, a answer) error {
			return show(c, *w, a, table(a, "rules", report.RuleColumns(), "CHAIN"), func(context.Context) (found[report.Rule], error) {
				all, unread, err := n.rules()
				text := func(w io.Writer, s report.Style) error { return report.WriteRules(w, s, all) }
				return found[report.Rule]{value: all, text: text, rows: all, remarks: remarks{fault: unread}}, err
			})
		}),
	}
}

// rules are those that are there and those that should be. Unread are the records that
// cannot be read.
func (n *node) rules() (all []report.Rule, unread, err error) {
	v, err := n.view()
	if err != nil {
		return nil, nil, err
	}
	counted, err := rules((*nft.Conn).CountedRules)
	if err != nil {
		return nil, nil, err
	}
	changes, err := v.drift()
	if err != nil {
		return nil, nil, err
	}
	return report.RulesOf(v.desired(), counted, changes), v.unread, nil
}

func inspectDriftCommand(n *node, out *output, w *watching) *cobra.Command {
	return answering(&cobra.Command{
		Use:   "drift",
		Short: "Says how rules and links differ from what was asked for",
		Long: `Compares the rules and elements of table inet masq with what the records and the
node's policy ask for, and the links of containers with what ADD made of them: both
ends, addresses, routes, forwarding. CHECK makes the same comparison. What cannot be
compared from here, such as a container whose network namespace this process may not
enter, is listed with the reason, and is no drift.
Exit code 0: no drift; 1: drift; 2: the comparison failed.`,
		Args: arity.None,
		RunE: out.run(func(c *cobra.Command, _ []string, a answer) error {
			return show(c, *w, a, table(a, "differences", report.ChangeColumns(), "KIND"), func(context.Context) (found[report.Change], error) {
				d, err := n.drift()
				f := found[report.Change]{value: d, text: d.WriteText, rows: d.Changes}
				if d.Drift {
					f.fault = errFailed
				}
				return f, err
			})
		}),
	})
}

func (n *node) drift() (report.Drift, error) {
	v, err := n.view()
	if err != nil {
		return report.Drift{}, err
	}
	changes, err := v.drift()
	if err != nil {
		return report.Drift{}, err
	}
	links, _, err := v.links(len(v.records))
	if err != nil {
		return report.Drift{}, err
	}
	faults, notChecked := compare.Split(append(compare.OfRules("", changes), links...))
	return report.Drift{
		Drift: len(faults) > 0, Changes: report.ChangesOf(faults, v.owners), NotChecked: report.ChangesOf(notChecked, v.owners),
	}, nil
}
