package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

func inspectFlowsCommand(n *node, out *output) *cobra.Command {
	var x choice
	c := &cobra.Command{
		Use:   "flows",
		Short: "Lists flows, and whose they are",
		Long: `Lists the flows in the kernel's table, as they are read: a list of millions takes no
memory. With several flags, those flows that fit all of them.

An address, port or direction is that of the one who began a flow. --src, --sport,
--dst and --dport take it before or after translation, so that --sport finds the
flow behind a port that a server names. Of ICMP, --sport is the ID.`,
		Args: cobra.NoArgs,
	}
	x.flags(c, n)
	c.RunE = out.run(func(c *cobra.Command, _ []string, a answer) error { return n.inspectFlows(c, &x, a) })
	return c
}

// flowWriter takes flows as they come.
type flowWriter interface {
	Add(report.Flow) error
	End() error
}

// flowList writes flows for a program.
type flowList struct{ *report.List }

func (l flowList) Add(f report.Flow) error { return l.List.Add(f) }

func (n *node) inspectFlows(c *cobra.Command, x *choice, a answer) error {
	if err := x.parse(); err != nil {
		return err
	}
	v, err := n.view()
	if err != nil {
		return err
	}
	queries, err := x.queries(v)
	if err != nil {
		return err
	}
	flows, err := conntrack.Open()
	if err != nil {
		return err
	}
	defer func() { _ = flows.Close() }()
	var w flowWriter = report.NewFlowTable(a, a.Style)
	if a.format != "" {
		w = flowList{report.NewList(a, a.format)}
	}
	now, left := time.Now(), x.limit
	var failed error
	err = dump(c.Context(), flows, queries, func(f *conntrack.Flow) bool {
		if !x.match(f) {
			return true
		}
		from, to := v.owners.Ends(f)
		if x.top != nil {
			x.top.Add(report.FlowOf(f, from, to, now))
			return true
		}
		if failed = w.Add(report.FlowOf(f, from, to, now)); failed != nil {
			return false
		}
		left--
		return left != 0
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	if x.top != nil {
		for _, f := range x.top.Sorted() {
			if err := w.Add(f); err != nil {
				return err
			}
		}
	}
	if err := w.End(); err != nil {
		return err
	}
	return v.unread
}
