package demo

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/exitcode"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/plugin"
	"github.com/masq-cni/masq-cni/pkg/cnidir"
)

// Command returns the command demo.
func Command() *cobra.Command {
	var (
		opts   Options
		output string
		clean  bool
	)
	c := &cobra.Command{
		Use:   "demo",
		Short: "Tells the story of masquerading in a lab of network namespaces",
		Long: `Makes a lab of network namespaces (a container, a node, an uplink of MTU 212
whose router drops ICMP "fragmentation needed", a server), runs the plugin in it
and shows, with figures read at the server, what works without masq-cni and what
works with it. Needs root, and nothing but the kernel. The lab has namespaces and
records of its own, so --netns and --state-dir are refused.

The exit code is 1 when any step is not as it should be.`,
		Args: arity.None,
		PreRunE: func(c *cobra.Command, _ []string) error {
			for _, name := range []string{"netns", "state-dir"} {
				if c.Flags().Changed(name) {
					return fmt.Errorf("--%s: the demo makes namespaces and records of its own; leave the flag out", name)
				}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error {
			if clean {
				return Clean()
			}
			if output != "" && output != "json" {
				return fmt.Errorf("--output %q is not known; the one there is is json", output)
			}
			if opts.Plugin == "" {
				path, err := findPlugin()
				if err != nil {
					return err
				}
				opts.Plugin = path
			} else if info, err := os.Stat(opts.Plugin); err != nil || !info.Mode().IsRegular() {
				return fmt.Errorf("--plugin %q is not there, or no file; give the path of masq", opts.Plugin)
			}
			out := newPrinter(c.OutOrStdout())
			if output == "" {
				opts.Observe = out.step
				out.begin()
			}
			story, err := Run(c.Context(), opts)
			if err != nil {
				return err
			}
			if output == "json" {
				enc := json.NewEncoder(c.OutOrStdout())
				enc.SetIndent("", "  ")
				err = enc.Encode(story)
			} else {
				out.end(story)
			}
			if err == nil && !story.OK {
				err = exitcode.ErrFailed
			}
			return err
		},
	}
	c.Flags().BoolVar(&opts.Keep, "keep", false, "leave the lab, and say how to enter it")
	c.Flags().BoolVar(&clean, "clean", false, "remove the labs that were kept, and do nothing else")
	c.Flags().StringVarP(&output, "output", "o", "", "json: the results for a program")
	c.Flags().StringVar(&opts.Plugin, "plugin", "", "the plugin binary (default: masq beside this program, where the packages have it, or in /opt/cni/bin)")
	return c
}

func findPlugin() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	return plugin.Find(self, filepath.Join(cnidir.DefaultBinDir, cnidir.Plugin))
}
