// Package install has the commands of masq-cni that change a node: prepare sets sysctls and
// loads kernel modules, install installs the plugin and its CNI configuration, uninstall
// removes both, the rules and the records.
package install

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/internal/terminal"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/cnidir"
)

// The modes of install.
const (
	chainMode   = "chain"
	networkMode = "network"
)

// install is an installation: the flags, and what follows from them.
type install struct {
	watch       bool
	logs        bool // --log
	mode        string
	binDir      string
	confDir     string
	program     cnidir.Program
	readyURL    string
	podCIDRs    []string
	nodeName    string
	keys        string // --plugin-config
	stateDir    string
	confName    string
	networkName string
	cniVersion  string
	userAgent   string

	log    *slog.Logger
	report reporter
	given  []byte          // the JSON object of keys
	entry  json.RawMessage // of masq after another plugin
	ranges []netip.Prefix  // of pods
	logged map[string]bool // warnings that are logged only once
}

// Command returns the command install. userAgent identifies it to the API server.
func Command(n *node.Node, userAgent string) *cobra.Command {
	var i install
	c := &cobra.Command{
		Use:   "install",
		Short: "Installs the plugin, and inserts it into the configuration of the network",
		Long: `Waits until masqd is ready, copies the plugin masq to --bin-dir, and changes the CNI
configuration in --conf-dir:

  --mode chain    inserts masq after the first plugin of the network that the runtime
                  uses, which is the first readable file by name. The rest of the file
                  does not change. If the file has a single plugin (.conf), it is kept, and
                  a list with both plugins is written; its name sorts before the file's.
  --mode network  writes a new network, whose links masq makes, with the pod
                  ranges of --pod-cidr, or of the Node that --node-name names.

Files are replaced by rename, so a runtime and a running plugin never read half a file.
Correct files are not changed, so the command can be run at any time.

On a terminal it prints sentences. If standard output is not a terminal, or with --log or
--watch, it writes log lines to standard error.

With --watch it keeps running, and restores its changes when another program removes
them, for example when the plugin of the network writes its file again. When it
ends, plugin and configuration stay; masq-cni uninstall removes them. If root owns the
directories, it has to run as root. It needs no capability.`,
		Example: `  masq-cni install --ready-url ''
  masq-cni install --watch --mode network --node-name "$NODE_NAME"
  masq-cni install --plugin-config '{"nonMasqueradeCIDRs": ["10.0.0.0/8"]}'`,
		Args: arity.None,
		PreRunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().Changed("netns") {
				return errors.New("--netns has no effect on an installation, which changes directories; leave the flag out")
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error {
			i.stateDir, i.userAgent = n.StateDir, userAgent
			i.log = slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))
			i.report = logReporter{i.log}
			if out := c.OutOrStdout(); !i.watch && !i.logs && terminal.Is(out) {
				i.report = textReporter{out}
			}
			return i.run(c.Context())
		},
	}
	f := c.Flags()
	f.BoolVar(&i.watch, "watch", false, "keep running, and restore what other programs remove")
	f.BoolVar(&i.logs, "log", false, "write log lines even on a terminal")
	f.StringVar(&i.mode, "mode", chainMode, "`chain|network`: insert masq after the first plugin of the existing network, or write a new network")
	f.StringVar(&i.binDir, "bin-dir", cnidir.DefaultBinDir, "`DIR` in which the runtime searches for plugins")
	f.StringVar(&i.confDir, "conf-dir", cnidir.DefaultConfDir, "`DIR` in which the runtime searches for network configurations")
	f.StringVar(&i.program.Source, "plugin", "", "`FILE` of the plugin to copy (default: masq in the directory of this program, or where the packages install it)")
	f.BoolVar(&i.program.Force, "force", false, "replace a newer plugin, or another program with the name masq")
	f.StringVar(&i.readyURL, "ready-url", "http://127.0.0.1:9468/readyz", "wait until masqd is ready at this `URL`, or at unix:PATH of its socket; '' does not wait")
	f.StringVar(&i.keys, "plugin-config", "", "more keys of masq's configuration: a JSON object, or a file with one (`JSON|FILE`)")
	f.StringSliceVar(&i.podCIDRs, "pod-cidr", nil, "with --mode network, the node's pod range, a `PREFIX`; separate several by commas")
	f.StringVar(&i.nodeName, "node-name", "", "with --mode network, read the pod ranges of the Node `NAME` from the API server, with the pod's service account")
	f.StringVar(&i.confName, "conf-name", "10-masq.conflist", "with --mode network, `NAME` of the file; the runtime uses the file whose name sorts first")
	f.StringVar(&i.networkName, "network", "masq-cni", "with --mode network, `NAME` of the network")
	f.StringVar(&i.cniVersion, "cni-version", "1.0.0", "with --mode network, `VERSION` of CNI; 1.1.0 has STATUS and GC, but containerd 1 and podman 4 refuse it")
	_ = c.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{chainMode, networkMode}, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	return c
}
