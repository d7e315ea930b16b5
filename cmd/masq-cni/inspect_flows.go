package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

func inspectFlowsCommand(n *node, out *output, w *watching) *cobra.Command {
	var x choice
	var hidden scrapes
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
	hidden.flag(c)
	c.RunE = out.run(func(c *cobra.Command, _ []string, a answer) error {
		if w.on {
			return n.watchFlows(c, &x, hidden, *w, a)
		}
		return n.inspectFlows(c, &x, hidden, a)
	})
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

func (n *node) inspectFlows(c *cobra.Command, x *choice, hidden scrapes, a answer) error {
	if err := x.parse(); err != nil {
		return err
	}
	w := a.flows(report.FlowColumns())
	left := x.limit
	unread, err := n.eachFlow(c.Context(), x, &hidden, func(f report.Flow) error {
		if x.top != nil {
			x.top.Add(f)
			return nil
		}
		if err := w.Add(f); err != nil {
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
			if err := w.Add(*f); err != nil {
				return err
			}
		}
	}
	if err := w.End(); err != nil {
		return err
	}
	if note := hidden.note(); note != "" && a.format == "" {
		if _, err := fmt.Fprintln(a, "note:", note); err != nil {
			return err
		}
	}
	return unread
}

func (n *node) watchFlows(c *cobra.Command, x *choice, hidden scrapes, w watching, a answer) error {
	if err := x.parse(); err != nil {
		return err
	}
	by := cmp.Or(x.by, "bytes")
	s := table(a, "flows", report.FlowColumns(), strings.ToUpper(by))
	if s.first < 0 {
		return fmt.Errorf("--sort %s has no column that --watch could sort by; give -o wide too", by)
	}
	s.tie, s.most = report.CompareFlows, min(x.limit, mostRows)
	s.look = func(ctx context.Context, add func(report.Flow)) (remarks, error) {
		hidden := hidden
		unread, err := n.eachFlow(ctx, x, &hidden, func(f report.Flow) error { add(f); return nil })
		return remarks{note: hidden.note(), fault: unread}, err
	}
	return watch(c, w, a, s)
}

// errEnough ends eachFlow before the last flow, and is no error of it.
var errEnough = errors.New("enough")

// eachFlow calls f with the chosen flows that are not hidden until it returns an error.
// Unread are the records that cannot be read.
func (n *node) eachFlow(ctx context.Context, x *choice, hidden *scrapes, f func(report.Flow) error) (unread, err error) {
	v, err := n.live()
	if err != nil {
		return nil, err
	}
	defer func() { _ = v.Close() }()
	queries, err := x.queries(v.view)
	if err != nil {
		return nil, err
	}
	if x.sport != "" || x.dport != "" {
		hidden.show = true
	}
	hidden.readPorts(v.lock)
	defer hidden.close()
	now := time.Now()
	var failed error
	err = dump(ctx, v.Conn, queries, func(k *conntrack.Flow) bool {
		if x.match(k) && !hidden.hides(k) {
			from, to := v.owners.Ends(k)
			failed = f(report.FlowOf(k, from, to, now))
		}
		return failed == nil
	})
	if err == nil && !errors.Is(failed, errEnough) {
		err = failed
	}
	return v.unread, err
}
