package demo

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/exitcode"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/plugin"
	"github.com/masq-cni/masq-cni/pkg/cnidir"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// Command returns the command demo.
func Command() *cobra.Command {
	var (
		opts   options
		output string
		remove bool
	)
	c := &cobra.Command{
		Use:   "demo",
		Short: "Shows what masquerading does, in a lab of network namespaces",
		Long: `Makes a lab of network namespaces: a container, a node, a server, and an uplink of MTU
212 whose router drops ICMP "fragmentation needed". Runs the plugin and masqd in the
lab. The steps show what the server receives without masq-cni, and what it receives with
masq-cni. The demo needs root, and no other programs. The lab has its own namespaces,
records and configuration, so --netns and --state-dir are refused.

Exit code 0: all steps succeeded; 1: a step failed.`,
		Args: arity.None,
		PreRunE: func(c *cobra.Command, _ []string) error {
			for _, name := range []string{"netns", "state-dir"} {
				if c.Flags().Changed(name) {
					return fmt.Errorf("--%s: the demo makes its own namespaces and records; leave the flag out", name)
				}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error {
			if remove {
				return clean()
			}
			if output != "" && output != "json" {
				return fmt.Errorf("--output %q is not known; give json, or leave the flag out", output)
			}
			if opts.plugin == "" {
				path, err := findPlugin()
				if err != nil {
					return err
				}
				opts.plugin = path
			} else if info, err := os.Stat(opts.plugin); err != nil || !info.Mode().IsRegular() {
				return fmt.Errorf("--plugin %q is not a file; give the path of masq", opts.plugin)
			}
			out := newPrinter(c.OutOrStdout())
			if output == "" {
				opts.observe = out.step
				out.begin()
			}
			story, err := run(c.Context(), opts)
			if err != nil {
				return err
			}
			if output == "json" {
				err = report.Write(c.OutOrStdout(), report.JSON, story)
			} else {
				out.end(story)
			}
			if err == nil && !story.OK {
				err = exitcode.ErrFailed
			}
			return err
		},
	}
	c.Flags().BoolVar(&opts.keep, "keep", false, "keep the lab, and print how to enter it")
	c.Flags().BoolVar(&remove, "clean", false, "remove the labs that were kept, and make no new one")
	c.Flags().StringVarP(&output, "output", "o", "", "json: for a program")
	c.Flags().StringVar(&opts.plugin, "plugin", "", "`FILE` of the plugin (default: masq in the directory of this program, where the packages install it, or in /opt/cni/bin)")
	return c
}

func findPlugin() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	return plugin.Find(self, filepath.Join(cnidir.DefaultBinDir, cnidir.Plugin))
}
