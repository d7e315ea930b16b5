// Package config is the command masq-cni config: it checks the files of a node's
// configuration.
package config

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/exitcode"
	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/nodeconf"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// Command returns the command config.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Checks the configuration of a node",
		Args:  arity.None,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(checkCommand())
	return c
}

func checkCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "check FILE...",
		Short: "Validates configuration files, and prints the merged configuration",
		Long: `Reads configuration files of masqd or of ip-masq-agent, and merges them as masqd does.
If there are faults, each is printed as FILE:LINE:COLUMN: MESSAGE, and the exit code is
1. Otherwise the merged configuration is printed; with -o json it has every key. If a
value of one file overrides another file, a warning on stderr names both. With -o json
the warnings are under "warnings".

Only the files are read: --netns and --state-dir have no effect.`,
		Args: arity.Some("a file"),
		RunE: func(c *cobra.Command, files []string) error {
			if output != "" && output != "json" {
				return fmt.Errorf("--output %q is not known; give json, or leave the flag out", output)
			}
			node, err := nodeconf.LoadFiles(files...)
			if err != nil {
				return printFaults(c.OutOrStdout(), err, output)
			}
			if output == "json" {
				return report.Write(c.OutOrStdout(), report.JSON, node)
			}
			for _, w := range node.Warnings {
				if _, err := fmt.Fprintln(c.ErrOrStderr(), "warning:", w); err != nil {
					return err
				}
			}
			_, err = fmt.Fprint(c.OutOrStdout(), node)
			return err
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "json: for a program, the configuration with its warnings, or {\"faults\": [...]}")
	return c
}

// printFaults prints the faults, and returns the error that makes the command fail.
func printFaults(w io.Writer, err error, output string) error {
	faults, ok := errors.AsType[conftree.Faults](err)
	if !ok {
		return err
	}
	if output == "json" {
		err = report.Write(w, report.JSON, map[string]conftree.Faults{"faults": faults})
	} else {
		_, err = fmt.Fprintln(w, faults)
	}
	if err != nil {
		return err
	}
	return exitcode.ErrFailed
}
