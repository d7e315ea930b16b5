package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
)

func inspectRulesCommand(n *node, out *output) *cobra.Command {
	return &cobra.Command{
		Use:   "rules",
		Short: "Lists the rules: ID, text, why each is there, and what it has counted",
		Long: `Lists the rules of table inet masq in the order of its chains, beside those that were
asked for: a rule is ok, missing, changed (or out of place) or foreign. The ID is
the rule's comment in the kernel.`,
		Args: cobra.NoArgs,
		RunE: out.run(n.inspectRules),
	}
}

func (n *node) inspectRules(_ *cobra.Command, _ []string, a answer) error {
	v, err := n.view()
	if err != nil {
		return err
	}
	counters, err := rules((*nft.Conn).Counters)
	if err != nil {
		return err
	}
	changes, err := v.drift()
	if err != nil {
		return err
	}
	all := report.RulesOf(v.desired, counters, changes)
	if err := a.show(all, func(w io.Writer, s report.Style) error { return report.WriteRules(w, s, all) }); err != nil {
		return err
	}
	return v.unread
}

func inspectDriftCommand(n *node, out *output) *cobra.Command {
	return answering(&cobra.Command{
		Use:   "drift",
		Short: "Says how the kernel's rules differ from what was asked for",
		Long: `Compares the rules and elements of table inet masq with what the records and the
node's policy ask for. Exit code 0: no drift; 1: drift; 2: it could not look.`,
		Args: cobra.NoArgs,
		RunE: out.run(n.inspectDrift),
	})
}

func (n *node) inspectDrift(_ *cobra.Command, _ []string, a answer) error {
	v, err := n.view()
	if err != nil {
		return err
	}
	// What an unread record asks for would pass for foreign.
	if v.unread != nil {
		return v.unread
	}
	changes, err := v.drift()
	if err != nil {
		return err
	}
	d := report.Drift{Drift: len(changes) > 0, Changes: report.ChangesOf(changes)}
	if err := a.show(d, d.WriteText); err != nil {
		return err
	}
	if d.Drift {
		return errFailed
	}
	return nil
}
