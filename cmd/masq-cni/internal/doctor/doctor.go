// Package doctor is the command masq-cni doctor: it finds the causes of faults, shows the
// evidence, and offers remedies.
package doctor

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/exitcode"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/pkg/cnidir"
	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// flags are the flags of doctor and of doctor pod.
type flags struct {
	output  output.Flag
	options doctor.Options
}

// Command returns the command doctor.
func Command(n *node.Node) *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Finds the causes of faults, shows the evidence, and offers remedies",
		Long: `Checks the node, and names each fault with its evidence, its consequence and its remedy.

Exit code 0: healthy; 1: findings; 2: the node could not be checked.`,
		Args: arity.None,
		RunE: f.output.Run(func(c *cobra.Command, _ []string, w output.Writer) error { return f.examine(c, n, w, "") }),
	}
	exitcode.Answering(c)
	f.output.Register(c)
	p := c.PersistentFlags()
	p.StringVar(&f.options.ConfDir, "conf-dir", cnidir.DefaultConfDir, "`DIR` in which the runtime searches for network configurations")
	p.StringVar(&f.options.BinDir, "bin-dir", cnidir.DefaultBinDir, "`DIR` in which the runtime searches for plugins")
	pod := &cobra.Command{
		Use:               "pod NAMESPACE/NAME|CONTAINERID",
		Short:             "Checks the way of one container's packets",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: n.CompletePods,
		RunE:              f.output.Run(func(c *cobra.Command, args []string, w output.Writer) error { return f.examine(c, n, w, args[0]) }),
	}
	c.AddCommand(exitcode.Answering(pod))
	return c
}

// examine runs the checks, and shows the report.
func (f *flags) examine(c *cobra.Command, n *node.Node, w output.Writer, pod string) error {
	f.options.StateDir = n.StateDir
	if pod != "" {
		s, err := n.Snapshot()
		if err != nil {
			return err
		}
		found, err := s.Find(pod)
		if err != nil {
			return err
		}
		for _, i := range found {
			f.options.Only = append(f.options.Only, s.Records[i].Identity())
		}
	}
	examined, err := doctor.Open(f.options)
	if err != nil {
		return err
	}
	r := doctor.Run(c.Context(), examined, doctor.All())
	r.Pod = pod
	if err := w.Show(r, func(out io.Writer, s report.Style) error { return writeText(out, s, &r) }); err != nil {
		return err
	}
	switch {
	case len(r.Findings) > 0:
		return exitcode.ErrFailed
	case len(r.Checks) == 0 && len(r.NotChecked) > 0:
		return fmt.Errorf("nothing could be checked: %s", r.NotChecked[0].Reason)
	}
	return nil
}
