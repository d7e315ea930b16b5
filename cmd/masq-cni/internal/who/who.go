// Package who is the command masq-cni who: it tells which container is behind an address
// and port, now by the kernel's conntrack table, or in the past by the NAT log.
package who

import (
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/exitcode"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/masqd"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// Command returns the command who.
func Command(n *node.Node) *cobra.Command {
	var (
		out         output.Flag
		to, at, dir string
		hidden      masqd.Scrapes
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
		Args: arity.One("ADDRESS:PORT"),
		ValidArgsFunction: func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			return complete(n, c, args, typed)
		},
	}
	c.Flags().StringVar(&to, "to", "", "the far end: `ADDRESS[:PORT]`")
	_ = c.RegisterFlagCompletionFunc("to", cobra.NoFileCompletions) // the flag is there
	c.Flags().StringVar(&at, "at", "", "`TIME` at which it was, or how long ago: from the NAT log")
	c.Flags().StringVar(&dir, "nat-log", natLogDir, "`DIRECTORY` of the NAT log")
	_ = c.RegisterFlagCompletionFunc("at", cobra.NoFileCompletions) // the flag is there
	hidden.Flag(c)
	out.Register(c)
	c.RunE = out.Run(func(c *cobra.Command, args []string, w output.Writer) error {
		q, err := parseEndpoint(args[0], to)
		if err != nil {
			return err
		}
		if !c.Flags().Changed("at") {
			return whoIs(c, n, q, w)
		}
		p := past{dir: dir}
		if p.from, p.until, err = parseMoment(at, time.Now()); err != nil {
			return err
		}
		return whoWas(c, n, q, p, hidden, w)
	})
	return exitcode.Answering(c)
}

// whoIs answers from the kernel's table.
func whoIs(c *cobra.Command, n *node.Node, q endpoint, w output.Writer) error {
	x, flows, err := lookUp(n, q)
	if err != nil {
		return err
	}
	defer func() { _ = x.Close() }()
	all := readAll(c.Context(), x, q)
	if q.tuples() != nil {
		all = described(x.Snapshot, q, flows)
	}
	found, nameless, err := showFlows(all, q, w, report.FlowColumns())
	switch {
	case err != nil:
		return err
	case nameless && x.Unread != nil:
		return x.Unread // it may have the name
	case found:
		return nil
	}
	if w.Format == "" {
		if err := writeNone(x, q, w); err != nil {
			return err
		}
	}
	return exitcode.ErrFailed
}

// showFlows writes the flows of an answer, whether they come from the kernel's table
// or from elsewhere. A flow is nameless when no attachment is known behind it.
func showFlows(flows iter.Seq2[report.Flow, error], q endpoint, w output.Writer, columns []report.Column[report.Flow]) (found, nameless bool, err error) {
	var (
		list  output.FlowWriter
		notes notes
	)
	for f, err := range flows {
		if err != nil {
			return found, nameless, err
		}
		if list == nil {
			list = w.Flows(columns)
		}
		found = true
		nameless = nameless || f.Owner == (report.Owner{})
		notes.add(q, f)
		if err := list.Add(f); err != nil {
			return found, nameless, err
		}
	}
	switch {
	case list == nil && w.Format == "":
		return false, false, nil
	case list == nil:
		list = w.Flows(columns) // an empty list
	}
	if err := list.End(); err != nil {
		return found, nameless, err
	}
	if w.Format == "" {
		err = notes.write(w)
	}
	return found, nameless, err
}
