// Package clamp is the command masq-cni clamp: local MSS clamps, which apply to all policies of
// a node. It also repairs a node without masqd, for masq-cni doctor --fix.
package clamp

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// Command returns the command clamp.
func Command(n *node.Node) *cobra.Command {
	c := &cobra.Command{
		Use:   "clamp",
		Short: "Lowers the MSS of connections to a prefix, until the node restarts",
		Long: `Lists, adds and deletes local MSS clamps of the node. A local clamp lowers the maximum
segment size (MSS) of TCP connections between containers and the addresses of a prefix, in
both directions, for all networks of the node. It is a remedy for a path that is narrower
than the node's route, if the ICMP errors of that path are filtered.

Of several prefixes that contain an address, the longest applies. mssClamp and mssClamps of
the network and of the node apply too: the smallest MSS is used. Connections that are open
keep their MSS.

A local clamp is in the state directory until it is deleted or the node restarts. For a
permanent one, use mssClamps in the configuration of the network or of the node. masqd
applies a change at once. Without masqd, the command applies it.`,
		Example: `  masq-cni clamp add 198.51.100.0/24 1220
  masq-cni clamp list
  masq-cni clamp delete 198.51.100.0/24`,
		Args: arity.None,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(listCommand(n), addCommand(n), deleteCommand(n))
	return c
}

// clamps is the output of list.
type clamps struct {
	MSSClamps masq.MSSClamps `json:"mssClamps"`
}

func listCommand(n *node.Node) *cobra.Command {
	var out output.Flag
	c := &cobra.Command{
		Use:   "list",
		Short: "Lists the local MSS clamps",
		Args:  arity.None,
		RunE: out.Run(func(_ *cobra.Command, _ []string, w output.Writer) error {
			records, err := store.Open(n.StateDir)
			if err != nil {
				return err
			}
			all, err := records.MSSClamps()
			if err != nil {
				return err
			}
			if all == nil {
				all = masq.MSSClamps{}
			}
			return w.Show(clamps{all}, func(w io.Writer, s report.Style) error {
				_, err := fmt.Fprintln(w, s.Paint(report.Bold, fmt.Sprintf("%-43s  %s", "PREFIX", "MSS")))
				for _, p := range all.Prefixes() {
					if err == nil {
						_, err = fmt.Fprintf(w, "%-43s  %d\n", p, all[p])
					}
				}
				return err
			})
		}),
	}
	out.Register(c)
	return c
}

func addCommand(n *node.Node) *cobra.Command {
	return &cobra.Command{
		Use:     "add PREFIX MSS",
		Short:   "Adds a local MSS clamp, or changes it",
		Long:    fmt.Sprintf("Lowers the MSS of connections between containers and the addresses of PREFIX to MSS, in\nbytes (%d-%d). It never raises an MSS.", masq.ClampMin, masq.ClampMax),
		Example: "  masq-cni clamp add 198.51.100.0/24 1220",
		Args:    arity.Two("a prefix", "an MSS"),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := prefix(args[0])
			if err != nil {
				return err
			}
			mss, err := strconv.Atoi(args[1])
			if err != nil {
				return fmt.Errorf("%s is not a number of bytes; give %d-%d", masq.Quote(args[1]), masq.ClampMin, masq.ClampMax)
			}
			return Set(c.Context(), n.StateDir, p, mss)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
}

func deleteCommand(n *node.Node) *cobra.Command {
	return &cobra.Command{
		Use:     "delete PREFIX",
		Short:   "Deletes a local MSS clamp",
		Example: "  masq-cni clamp delete 198.51.100.0/24",
		Args:    arity.One("a prefix"),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := prefix(args[0])
			if err != nil {
				return err
			}
			return remove(c.Context(), n.StateDir, p)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
}

func prefix(s string) (netip.Prefix, error) {
	p, bad := masq.ParsePrefix(s)
	if bad != nil {
		return p, fmt.Errorf("%s %s", masq.Quote(s), bad)
	}
	return p, nil
}
