package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/masqd"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/screen"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

func flowsCommand(n *node.Node, f *flags) *cobra.Command {
	var x choice
	var hidden masqd.Scrapes
	c := &cobra.Command{
		Use:   "flows",
		Short: "Lists flows, and whose they are",
		Long: `Lists the flows in the kernel's table, as they are read: a list of millions takes no
memory. With several flags, those flows that fit all of them.

An address, port or direction is that of the one who began a flow. --src, --sport,
--dst and --dport take it before or after translation, so that --sport finds the
flow behind a port that a server names. Of ICMP, --sport is the ID.

Connections to the HTTP endpoint of this node's masqd, such as those of Prometheus and
of probes, are left out unless --scrapes, --sport or --dport asks for them.`,
		Args: arity.None,
	}
	x.flags(c, n)
	hidden.Flag(c)
	c.RunE = f.output.Run(func(c *cobra.Command, _ []string, w output.Writer) error {
		if f.screen.Watch {
			return watchFlows(c, n, &x, hidden, f.screen, w)
		}
		return listFlows(c, n, &x, hidden, w)
	})
	return c
}

// listFlows writes flows as they are read, or sorted if --sort is given.
func listFlows(c *cobra.Command, n *node.Node, x *choice, hidden masqd.Scrapes, w output.Writer) error {
	if err := x.parse(); err != nil {
		return err
	}
	list := w.Flows(report.FlowColumns())
	left := x.limit
	unread, err := eachFlow(c.Context(), n, x, &hidden, func(f report.Flow) error {
		if x.top != nil {
			x.top.Add(f)
			return nil
		}
		if err := list.Add(f); err != nil {
			return err
		}
		if left--; left == 0 {
			return errEnough
		}
		return nil
	})
	if err != nil {
		return err
	}
	if x.top != nil {
		for _, f := range x.top.Sorted() {
			if err := list.Add(*f); err != nil {
				return err
			}
		}
	}
	if err := list.End(); err != nil {
		return err
	}
	if note := hidden.Note(); note != "" && w.Format == "" {
		if _, err := fmt.Fprintln(w, "note:", note); err != nil {
			return err
		}
	}
	return unread
}

// watchFlows shows flows on the whole terminal.
func watchFlows(c *cobra.Command, n *node.Node, x *choice, hidden masqd.Scrapes, flags screen.Flags, w output.Writer) error {
	if err := x.parse(); err != nil {
		return err
	}
	by := cmp.Or(x.by, "bytes")
	s := screen.Table(w, "flows", report.FlowColumns(), strings.ToUpper(by))
	if s.First < 0 {
		return fmt.Errorf("--sort %s has no column that --watch could sort by; give -o wide too", by)
	}
	s.Tie, s.Max = report.CompareFlows, x.limit
	s.Read = func(ctx context.Context, add func(report.Flow)) (screen.Remarks, error) {
		hidden := hidden
		unread, err := eachFlow(ctx, n, x, &hidden, func(f report.Flow) error { add(f); return nil })
		return screen.Remarks{Note: hidden.Note(), Fault: unread}, err
	}
	return screen.Watch(c, flags, w, s)
}

// errEnough ends eachFlow before the last flow, and is no error of it.
var errEnough = errors.New("enough")

// eachFlow calls f with the chosen flows that are not hidden until it returns an error.
// Unread are the records that cannot be read.
func eachFlow(ctx context.Context, n *node.Node, x *choice, hidden *masqd.Scrapes, f func(report.Flow) error) (unread, err error) {
	v, err := n.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = v.Close() }()
	queries, err := x.queries(v.Snapshot)
	if err != nil {
		return nil, err
	}
	if x.sport != "" || x.dport != "" {
		hidden.Show = true
	}
	hidden.ReadPorts(v.LockPath)
	defer hidden.Close()
	now := time.Now()
	var failed error
	err = node.Dump(ctx, v.Conn, queries, func(k *conntrack.Flow) bool {
		if x.match(k) && !hidden.Hides(k) {
			from, to := v.Owners.Ends(k)
			failed = f(report.FlowOf(k, from, to, now))
		}
		return failed == nil
	})
	if err == nil && !errors.Is(failed, errEnough) {
		err = failed
	}
	return v.Unread, err
}
