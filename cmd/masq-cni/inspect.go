package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/pkg/report"
)

func inspectCommand(n *node) *cobra.Command {
	var (
		out output
		w   watching
	)
	c := &cobra.Command{
		Use:   "inspect",
		Short: "Shows what masquerading does on the node: flows, pods, rules, drift",
		Long: `Without a further word: whether the node is healthy, its problems, each with its
remedy, and the node's figures. Everything is read from the kernel and from the
records of attachments, whether masqd runs or not; nothing is changed.
Needs CAP_NET_ADMIN in the node's network namespace, and to read --state-dir.

Exit code 0: healthy, with warnings at most; 1: there are problems; 2: the node could
not be queried.`,
		Args: arity.None,
		RunE: out.run(func(c *cobra.Command, _ []string, a answer) error { return n.inspectNode(c, w, a) }),
	}
	answering(c)
	out.flag(c)
	w.flags(c)
	c.AddCommand(inspectPodsCommand(n, &out, &w), inspectPodCommand(n, &out, &w), inspectFlowsCommand(n, &out, &w),
		inspectHelpersCommand(n, &out, &w), inspectPortsCommand(n, &out, &w), inspectRulesCommand(n, &out, &w), inspectDriftCommand(n, &out, &w))
	return c
}

// output is how a command answers.
type output struct{ format string }

const wide = "wide"

var outputs = []string{wide, string(report.JSON), string(report.YAML)}

func (o *output) flag(c *cobra.Command) {
	c.PersistentFlags().StringVarP(&o.format, "output", "o", "", "wide: more columns; json or yaml: for a program")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

// answer is where a command writes, and how.
type answer struct {
	io.Writer
	report.Style
	format report.Format // empty for a person
}

// show writes a value for a program, or has it written for a person.
func (a answer) show(v any, text func(io.Writer, report.Style) error) error {
	if a.format != "" {
		return report.Write(a, a.format, v)
	}
	return text(a, a.Style)
}

// run prepares a command to be carried out. A reader that goes away, such as head,
// ends it, and is no error.
func (o *output) run(f func(c *cobra.Command, args []string, a answer) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		if o.format != "" && !slices.Contains(outputs, o.format) {
			return fmt.Errorf("--output %q is not known; give %s, or leave the flag out", o.format, strings.Join(outputs, ", "))
		}
		// Otherwise the signal ends the program.
		signal.Ignore(syscall.SIGPIPE)
		defer signal.Reset(syscall.SIGPIPE)
		w := bufio.NewWriterSize(c.OutOrStdout(), 64<<10)
		a := answer{Writer: w, Style: report.Style{Color: coloured(c.OutOrStdout()), Wide: o.format == wide}}
		if o.format != wide {
			a.format = report.Format(o.format)
		}
		err := f(c, args, a)
		if flushed := w.Flush(); err == nil {
			err = flushed
		}
		if errors.Is(err, syscall.EPIPE) {
			return nil
		}
		return err
	}
}

// coloured reports whether colours are for the reader: https://no-color.org.
func coloured(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd()) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
