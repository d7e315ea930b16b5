// Package doctor is the command masq-cni doctor: it finds the causes of faults, shows the
// evidence, and offers remedies.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/clamp"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/exitcode"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/summary"
	"github.com/masq-cni/masq-cni/pkg/cnidir"
	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// flags are the flags of doctor and of doctor pod.
type flags struct {
	output  output.Flag
	options doctor.Options
	fix     bool
	yes     bool
	html    string
	to      string
}

// Command returns the command doctor of a program with this version.
func Command(n *node.Node, version string) *cobra.Command {
	f := flags{options: doctor.Options{Version: version}}
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Finds the causes of faults, shows the evidence, and offers remedies",
		Long: `Checks the node, and shows each fault: the values that show it and where they were read,
what fails because of it, and the remedy. The worst fault is first. A part that cannot be
checked is "not checked", with the reason.

doctor changes nothing unless --fix is given. It needs CAP_NET_ADMIN in the node's network
namespace, and the right to read --state-dir; for containers, to enter their network
namespaces.

Exit code 0: healthy; 1: findings; 2: the node could not be checked.`,
		Example: `  masq-cni doctor
  masq-cni doctor pod shop/cart
  masq-cni doctor pod shop/cart --to www.example.org:443
  masq-cni doctor --fix`,
		Args: arity.None,
		RunE: f.output.Run(func(c *cobra.Command, _ []string, w output.Writer) error { return f.examine(c, n, w, nil) }),
	}
	exitcode.Answering(c)
	f.output.Register(c)
	p := c.PersistentFlags()
	p.StringVar(&f.options.ConfDir, "conf-dir", cnidir.DefaultConfDir, "`DIR` in which the runtime searches for network configurations")
	p.StringVar(&f.options.BinDir, "bin-dir", cnidir.DefaultBinDir, "`DIR` in which the runtime searches for plugins")
	p.StringVar(&f.options.NATLog, "nat-log", "/var/lib/masq-cni/nat-log", "`DIRECTORY` of the NAT log")
	p.StringVar(&f.options.Root, "root", "/", "`DIR` of the node's file system, for the configuration of NetworkManager and systemd-networkd")
	p.StringVar(&f.to, "to", "", "send some packets to `HOST:PORT`, HOST:PORT/udp or [ADDRESS]:PORT, from the container or the node, and follow them")
	p.BoolVar(&f.fix, "fix", false, "show the remedies that masq-cni can apply and undo, ask, and apply them")
	p.StringVar(&f.html, "html", "", "write the report to `FILE` too, as a page with the path as a picture; - writes only the page, to standard output")
	p.BoolVar(&f.yes, "yes", false, "with --fix, do not ask")
	pod := &cobra.Command{
		Use:   "pod NAMESPACE/NAME|CONTAINERID",
		Short: "Checks one container and the way of its packets",
		Long: `Checks the node and one container, as doctor does for all containers.

Exit code 0: healthy; 1: findings; 2: the container could not be checked.`,
		Args:              arity.One("a pod or container"),
		ValidArgsFunction: n.CompletePods,
		RunE:              f.output.Run(func(c *cobra.Command, args []string, w output.Writer) error { return f.examine(c, n, w, &args[0]) }),
	}
	c.AddCommand(exitcode.Answering(pod))
	return c
}

// examine runs the checks and shows the report. With --fix it applies fixes and runs the
// checks again. pod is nil for the node.
func (f *flags) examine(c *cobra.Command, n *node.Node, w output.Writer, pod *string) error {
	if f.yes && !f.fix {
		return errors.New("--yes has no effect without --fix; give --fix too")
	}
	if f.fix && !f.yes && (w.Format != "" || f.html == "-") {
		return errors.New("--fix with -o json or yaml, or with --html -, cannot ask; give --yes too")
	}
	if f.html == "-" && w.Format != "" {
		return errors.New("--html - and -o cannot both write to standard output; give --html a file")
	}
	r, err := f.check(c.Context(), n, pod)
	if err != nil {
		return err
	}
	stdout := w.Writer
	if f.html == "-" {
		w.Writer = io.Discard
	}
	text := func(out io.Writer, s report.Style) error { return writeText(out, s, &r) }
	if !f.fix {
		if err := w.Show(r, text); err != nil {
			return err
		}
		if err := f.writePage(stdout, &r); err != nil {
			return err
		}
		return result(&r, r.Findings)
	}
	agreed := f.yes
	if w.Format == "" {
		if err := text(w, w.Style); err != nil {
			return err
		}
		if agreed, err = askFix(c.InOrStdin(), w, &r, f.yes); err != nil {
			return err
		}
	}
	left := r.Findings
	if agreed && len(r.Fixable()) > 0 {
		applyFixes(c.Context(), &r)
		after, err := f.check(c.Context(), n, pod)
		if err != nil {
			return err
		}
		r.Remaining, left = after.Findings, after.Findings
		if w.Format == "" {
			if err := writeFixes(w, w.Style, &r); err != nil {
				return err
			}
			if _, err := fmt.Fprintln(w, "\nafter the fixes: "+report.CleanText(after.Verdict)); err != nil {
				return err
			}
		}
	}
	if w.Format != "" {
		if err := report.Write(w, w.Format, r); err != nil {
			return err
		}
	}
	if err := f.writePage(stdout, &r); err != nil {
		return err
	}
	return result(&r, left)
}

// check opens the node and runs all checks.
func (f *flags) check(ctx context.Context, n *node.Node, pod *string) (doctor.Report, error) {
	o := f.options
	t, err := f.target(ctx)
	if err != nil {
		return doctor.Report{}, err
	}
	o.Target = t
	o.SetClamp = func(ctx context.Context, p netip.Prefix, mss int) error { return clamp.Set(ctx, n.StateDir, p, mss) }
	o.Repair = func(ctx context.Context) error { return clamp.Repair(ctx, n.StateDir) }
	if pod != nil {
		s, err := n.Snapshot()
		if err != nil {
			return doctor.Report{}, err
		}
		found, err := s.Find(*pod)
		if err != nil {
			return doctor.Report{}, err
		}
		for _, i := range found {
			o.Only = append(o.Only, s.Records[i].Identity())
		}
	}
	var losses portpool.LossTracker
	examined, err := summary.Open(ctx, n, o, &losses)
	if err != nil {
		return doctor.Report{}, err
	}
	r := doctor.Run(ctx, examined, doctor.All())
	if pod != nil {
		r.Pod = *pod
	}
	return r, nil
}

// result returns the error for the exit code.
func result(r *doctor.Report, findings []doctor.Finding) error {
	switch {
	case len(findings) > 0:
		return exitcode.ErrFailed
	case len(r.Checks) == 0 && len(r.NotChecked) > 0:
		return errors.New("nothing could be checked: " + r.NotChecked[0].Reason)
	}
	return nil
}
