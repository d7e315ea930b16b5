// Package inspect is the command masq-cni inspect: it reads the node's records and its
// state in the kernel, and changes nothing.
package inspect

import (
	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/exitcode"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/screen"
	"github.com/masq-cni/masq-cni/pkg/cnidir"
	"github.com/masq-cni/masq-cni/pkg/doctor"
)

// flags are the flags that inspect and the commands below it share.
type flags struct {
	output output.Flag
	screen screen.Flags
	doctor doctor.Options
}

// Command returns the command inspect, with the commands below it.
func Command(n *node.Node) *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use:   "inspect",
		Short: "Shows what masquerading does on the node: flows, pods, rules, drift",
		Long: `Shows whether the node is healthy, its problems with their remedies, and its figures.
Each command below shows one part of the node in detail.

inspect reads the kernel and the records of attachments, with or without masqd, and
changes nothing. It needs CAP_NET_ADMIN in the node's network namespace, and the right
to read --state-dir.

Exit code 0: healthy, or only warnings; 1: problems; 2: the node could not be queried.`,
		Args: arity.None,
		RunE: f.output.Run(func(c *cobra.Command, _ []string, w output.Writer) error { return showSummary(c, n, &f, w) }),
	}
	exitcode.Answering(c)
	f.output.Register(c)
	f.screen.Register(c)
	c.Flags().StringVar(&f.doctor.ConfDir, "conf-dir", cnidir.DefaultConfDir, "`DIR` in which the runtime searches for network configurations")
	c.Flags().StringVar(&f.doctor.BinDir, "bin-dir", cnidir.DefaultBinDir, "`DIR` in which the runtime searches for plugins")
	c.AddCommand(podsCommand(n, &f), podCommand(n, &f), flowsCommand(n, &f), helpersCommand(n, &f), portsCommand(n, &f), rulesCommand(n, &f), driftCommand(n, &f))
	return c
}
