package main

import (
	"errors"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/pkg/report"
)

func whoCommand(n *node) *cobra.Command {
	var (
		out         output
		to, at, dir string
		hidden      scrapes
	)
	c := &cobra.Command{
		Use:   "who ADDRESS:PORT[/PROTOCOL]",
		Short: "Says which container is behind an address and port that a server names",
		Long: `Lists the flows that a far end sees come from ADDRESS:PORT, and whose they are, and
those to ADDRESS:PORT whose destination is translated: the data connection of
active FTP, a published port. It asks the kernel, whether masqd runs or not, and
changes nothing. An address that nobody translates, such as a pod's own, is
answered for too.

Without a protocol, all of them. ICMP has an ID where others have a port. An
address of IPv6 stands in brackets: [2001:db8::2]:4711.

--to names the far end by the address that it has itself. With its port, or for
ICMP with its address, the flow is looked up, in conntrack zone 0; otherwise the
table is read, with all its zones.

--at asks who it was, not who it is: at a time (2026-03-01T15:04:05Z, "2026-03-01
15:04", 15:04 today, 1772377445 seconds since 1970, now), on a day (2026-03-01), or so
long ago (10m). The answer comes from the NAT log, which masqd writes with --nat-log;
the kernel is not asked. Connections to the HTTP endpoint of masqd, such as those of
Prometheus to another node, are left out if others are found; --scrapes shows them.

Exit code 0: found; 1: not found; 2: the query failed. Needs CAP_NET_ADMIN in the
node's network namespace, and to read --state-dir; with --at to read the log.`,
		Example: `  masq-cni who 192.0.2.2:51688
  masq-cni who 192.0.2.2:51688/tcp --to 198.51.100.2:443 -o json
  masq-cni who '[2001:db8:1::2]:4711/icmpv6'
  masq-cni who 192.0.2.2:51688/tcp --at '2026-03-01 15:04'`,
		Args:              arity.One("ADDRESS:PORT"),
		ValidArgsFunction: n.completeEndpoints,
	}
	c.Flags().StringVar(&to, "to", "", "the far end: `ADDRESS[:PORT]`")
	_ = c.RegisterFlagCompletionFunc("to", cobra.NoFileCompletions) // the flag is there
	c.Flags().StringVar(&at, "at", "", "`TIME` at which it was, or how long ago: from the NAT log")
	c.Flags().StringVar(&dir, "nat-log", natLogDir, "`DIRECTORY` of the NAT log")
	_ = c.RegisterFlagCompletionFunc("at", cobra.NoFileCompletions) // the flag is there
	hidden.flag(c)
	out.flag(c)
	c.RunE = out.run(func(c *cobra.Command, args []string, a answer) error {
		q, err := parseEndpoint(args[0], to)
		if err != nil {
			return err
		}
		if !c.Flags().Changed("at") {
			return n.who(c, q, a)
		}
		p := past{dir: dir}
		if p.from, p.until, err = parseMoment(at, time.Now()); err != nil {
			return err
		}
		return n.whoWas(c, q, p, hidden, a)
	})
	return answering(c)
}

// answering has a command whose exit code is an answer end with 2 where it could not
// look, for whatever reason.
func answering(c *cobra.Command) *cobra.Command {
	blind := func(err error) error {
		if err == nil || errors.Is(err, errFailed) {
			return err
		}
		return blindError{err}
	}
	args, run := c.Args, c.RunE
	c.Args = func(c *cobra.Command, a []string) error { return blind(args(c, a)) }
	c.RunE = func(c *cobra.Command, a []string) error { return blind(run(c, a)) }
	c.PersistentPreRunE = func(c *cobra.Command, a []string) error { return blind(c.Root().PersistentPreRunE(c, a)) }
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return blind(err) })
	return c
}

// who answers from the kernel's table.
func (n *node) who(c *cobra.Command, q endpoint, a answer) error {
	x, flows, err := n.asked(q)
	if err != nil {
		return err
	}
	defer func() { _ = x.Close() }()
	all := x.read(c.Context(), q)
	if q.tuples() != nil {
		all = x.described(q, flows)
	}
	found, nameless, err := showFlows(all, q, a, report.FlowColumns())
	switch {
	case err != nil:
		return err
	case nameless && x.unread != nil:
		return x.unread // it may have the name
	case found:
		return nil
	}
	if a.format == "" {
		if err := x.none(q, a); err != nil {
			return err
		}
	}
	return errFailed
}

// showFlows writes the flows of an answer, whether they come from the kernel's table
// or from elsewhere. A flow is nameless when no attachment is known behind it.
func showFlows(flows iter.Seq2[report.Flow, error], q endpoint, a answer, columns []report.Column[report.Flow]) (found, nameless bool, err error) {
	var (
		w     flowWriter
		notes notes
	)
	for f, err := range flows {
		if err != nil {
			return found, nameless, err
		}
		if w == nil {
			w = a.flows(columns)
		}
		found = true
		nameless = nameless || f.Owner == (report.Owner{})
		notes.add(q, f)
		if err := w.Add(f); err != nil {
			return found, nameless, err
		}
	}
	switch {
	case w == nil && a.format == "":
		return false, false, nil
	case w == nil:
		w = a.flows(columns) // an empty list
	}
	if err := w.End(); err != nil {
		return found, nameless, err
	}
	if a.format == "" {
		err = notes.write(a)
	}
	return found, nameless, err
}

// flows begins a list of flows, in columns for a person.
func (a answer) flows(columns []report.Column[report.Flow]) flowWriter {
	if a.format != "" {
		return flowList{report.NewList(a, a.format)}
	}
	return report.NewListing(a, a.Style, columns)
}
