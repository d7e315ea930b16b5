// Command masq-cni shows what masquerading does on a node, and installs it there.
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
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/clamp"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/config"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/demo"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/doctor"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/exitcode"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/inspect"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/install"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/who"
)

// The build sets both.
var (
	buildVersion = "dev"
	buildCommit  = "unknown"
)

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
	var n node.Node
	n.Flags(root)
	root.AddCommand(clamp.Command(&n), config.Command(), demo.Command(), doctor.Command(&n, buildVersion), inspect.Command(&n), install.Command(&n, "masq-cni/"+buildVersion), install.PrepareCommand(), install.UninstallCommand(&n), pauseCommand(), who.Command(&n), versionCommand(), man.Command())
	err := root.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, exitcode.ErrFailed) {
		_, _ = fmt.Fprintln(stderr, "masq-cni:", err)
	}
	return exitcode.Of(err)
}

// versionCommand returns the command that prints what --version prints.
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

// pauseCommand returns the command that waits for a signal: it keeps the pod of kubectl masq
// --privileged running.
func pauseCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "pause",
		Short:  "Waits for SIGTERM",
		Hidden: true,
		Args:   arity.None,
		RunE: func(c *cobra.Command, _ []string) error {
			<-c.Context().Done()
			return nil
		},
	}
}
