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

// flowList is what the commands for flows work on.
type flowList struct {
	node    *node.Node
	filter  flowFilter
	scrapes masqd.Scrapes
}

func flowsCommand(n *node.Node, f *flags) *cobra.Command {
	l := flowList{node: n}
	c := &cobra.Command{
		Use:   "flows",
		Short: "Lists flows with the pods that they belong to",
		Long: `Lists the flows of the conntrack table. Flows are printed while they are read, so
memory does not grow with the table. If several flags are given, a flow has to match
all of them.

--src, --sport, --dst and --dport match the addresses and ports before translation, or
those after it. For example, --sport finds the flow of a port that a server names. For
ICMP, --sport is the ID.

Connections of Prometheus and probes to the HTTP endpoint of this node's masqd are not
shown unless --scrapes, --sport or --dport is given.`,
		Args: arity.None,
	}
	l.filter.register(c, n)
	l.scrapes.Flag(c)
	c.RunE = f.output.Run(func(c *cobra.Command, _ []string, w output.Writer) error {
		if err := l.filter.parse(); err != nil {
			return err
		}
		if f.screen.Watch {
			return l.watch(c, f.screen, w)
		}
		return l.write(c.Context(), w)
	})
	return c
}

// write writes flows while it reads them; with --sort it reads all flows first.
func (l *flowList) write(ctx context.Context, w output.Writer) error {
	list := w.Flows(report.FlowColumns())
	left := l.filter.limit
	unread, err := l.each(ctx, &l.scrapes, func(f report.Flow) error {
		if l.filter.top != nil {
			l.filter.top.Add(f)
			return nil
		}
		if err := list.Add(f); err != nil {
			return err
		}
		if left--; left == 0 {
			return errLimit
		}
		return nil
	})
	if err != nil {
		return err
	}
	if l.filter.top != nil {
		for _, f := range l.filter.top.Sorted() {
			if err := list.Add(*f); err != nil {
				return err
			}
		}
	}
	if err := list.End(); err != nil {
		return err
	}
	if note := l.scrapes.Note(); note != "" && w.Format == "" {
		if _, err := fmt.Fprintln(w, "note:", note); err != nil {
			return err
		}
	}
	return unread
}

// watch shows flows on the whole terminal.
func (l *flowList) watch(c *cobra.Command, x screen.Flags, w output.Writer) error {
	by := cmp.Or(l.filter.by, "bytes")
	s := screen.Table(w, "flows", report.FlowColumns(), strings.ToUpper(by))
	if s.First < 0 {
		return fmt.Errorf("--watch cannot sort by %s, which has no column; give -o wide too", by)
	}
	s.Tie, s.Max = report.CompareFlows, l.filter.limit
	s.Read = func(ctx context.Context, add func(report.Flow)) (screen.Remarks, error) {
		scrapes := l.scrapes // counts the connections of one reading
		unread, err := l.each(ctx, &scrapes, func(f report.Flow) error { add(f); return nil })
		return screen.Remarks{Note: scrapes.Note(), Fault: unread}, err
	}
	return screen.Watch(c, x, w, s)
}

// errLimit ends each when the list has as many flows as --limit allows. each does not
// return it.
var errLimit = errors.New("limit reached")

// each calls f with each selected flow that scrapes does not hide, until f returns an
// error. unread is the error of records that cannot be read.
func (l *flowList) each(ctx context.Context, scrapes *masqd.Scrapes, f func(report.Flow) error) (unread, err error) {
	c, err := l.node.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	queries, err := l.filter.queries(c.Snapshot)
	if err != nil {
		return nil, err
	}
	if l.filter.sport != "" || l.filter.dport != "" {
		scrapes.Show = true
	}
	scrapes.ReadPorts(c.LockPath)
	defer scrapes.Close()
	now := time.Now()
	var failed error
	err = node.Dump(ctx, c.Conn, queries, func(k *conntrack.Flow) bool {
		if l.filter.match(k) && !scrapes.Hides(k) {
			failed = f(c.Owners.FlowOf(k, now))
		}
		return failed == nil
	})
	if err == nil && !errors.Is(failed, errLimit) {
		err = failed
	}
	return c.Unread, err
}
