// Command masq-cni shows a person what masquerading does on a node, and installs it
// there.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/internal/man"
)

// The build sets both.
var (
	buildVersion = "dev"
	buildCommit  = "unknown"
)

// errFailed ends a command with exit code 1 when it has said already what failed.
var errFailed = errors.New("failed")

// blindError ends a command with exit code 2, where 1 is an answer: it could not
// look.
type blindError struct{ error }

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "masq-cni",
		Short:         "Shows what masquerading does on a node",
		Version:       buildVersion + " (" + buildCommit + ")",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          arity.None,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },

		ValidArgsFunction: cobra.NoFileCompletions,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	var n node
	n.flags(root)
	root.AddCommand(demoCommand(), configCommand(), inspectCommand(&n), installCommand(&n), prepareCommand(), uninstallCommand(&n), versionCommand(), whoCommand(&n), man.Command())
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if !errors.Is(err, errFailed) {
		_, _ = fmt.Fprintln(stderr, "masq-cni:", err)
	}
	if _, blind := errors.AsType[blindError](err); blind {
		return 2
	}
	return 1
}

// versionCommand prints what --version prints.
func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Shows the version of masq-cni",
		Args:  arity.None,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "masq-cni version %s\n", c.Root().Version)
			return err
		},
	}
}
