// Package who is the command masq-cni who: it finds the container that uses an address and
// port. For the present it queries conntrack, for the past the NAT log.
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
		scrapes     masqd.Scrapes
	)
	c := &cobra.Command{
		Use:   "who ADDRESS:PORT[/PROTOCOL]",
		Short: "Finds the container that uses an address and port",
		Long: `A server sees connections from ADDRESS:PORT. who lists these flows with the containers
that they belong to. It also lists flows to ADDRESS:PORT whose destination is
translated: the data connection of active FTP, a published port. Flows that are not
translated are found too, by a container's own address.

It reads the kernel, with or without masqd, and changes nothing. Without a protocol it
searches all protocols. For ICMP, PORT is the ID. Write an IPv6 address in brackets:
[2001:db8::2]:4711.

--to is the server's own address. With address and port, or for ICMP the address alone,
who looks up the flow, in conntrack zone 0 only. Otherwise it reads the whole table, with
all zones.

--at searches the NAT log, which masqd writes with --nat-log, and not the kernel.
TIME is a point in time (2026-03-01T15:04:05Z, "2026-03-01 15:04", 15:04 today,
1772377445 seconds since 1970, now), a day (2026-03-01), or a duration before now (10m).
Connections to the HTTP endpoint of masqd, for example of Prometheus to another node,
are not shown if other flows are found; --scrapes shows them.

Exit code 0: found; 1: not found; 2: the query failed. who needs CAP_NET_ADMIN in the
node's network namespace, and the right to read --state-dir; with --at the right to read
the log.`,
		Example: `  masq-cni who 192.0.2.2:51688
  masq-cni who 192.0.2.2:51688/tcp --to 198.51.100.2:443 -o json
  masq-cni who '[2001:db8:1::2]:4711/icmpv6'
  masq-cni who 192.0.2.2:51688/tcp --at '2026-03-01 15:04'`,
		Args: arity.One("ADDRESS:PORT"),
		ValidArgsFunction: func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			return complete(n, c, args, typed)
		},
	}
	c.Flags().StringVar(&to, "to", "", "the server: `ADDRESS[:PORT]`")
	_ = c.RegisterFlagCompletionFunc("to", cobra.NoFileCompletions) // the flag exists
	c.Flags().StringVar(&at, "at", "", "search the NAT log at this `TIME`: a time, a day, or a duration before now")
	c.Flags().StringVar(&dir, "nat-log", natLogDir, "`DIRECTORY` of the NAT log")
	_ = c.RegisterFlagCompletionFunc("at", cobra.NoFileCompletions) // the flag exists
	scrapes.Flag(c)
	out.Register(c)
	c.RunE = out.Run(func(c *cobra.Command, args []string, w output.Writer) error {
		q, err := parseEndpoint(args[0], to)
		if err != nil {
			return err
		}
		if !c.Flags().Changed("at") {
			return searchTable(c.Context(), n, q, w)
		}
		l := log{node: n, dir: dir, scrapes: scrapes, stderr: c.ErrOrStderr()}
		if l.from, l.until, err = parseMoment(at, time.Now()); err != nil {
			return err
		}
		return l.search(c.Context(), q, w)
	})
	return exitcode.Answering(c)
}

// writeFlows writes the flows that were found, with notes. A flow is unowned if no
// attachment is known for it.
func writeFlows(flows iter.Seq2[report.Flow, error], q endpoint, w output.Writer, columns []report.Column[report.Flow]) (found, unowned bool, err error) {
	var (
		list  output.FlowWriter
		notes notes
	)
	for f, err := range flows {
		if err != nil {
			return found, unowned, err
		}
		if list == nil {
			list = w.Flows(columns)
		}
		found = true
		unowned = unowned || f.Owner == (report.Owner{})
		notes.add(q, f)
		if err := list.Add(f); err != nil {
			return found, unowned, err
		}
	}
	switch {
	case list == nil && w.Format == "":
		return false, false, nil
	case list == nil:
		list = w.Flows(columns) // an empty list
	}
	if err := list.End(); err != nil {
		return found, unowned, err
	}
	if w.Format == "" {
		err = notes.write(w)
	}
	return found, unowned, err
}
