// Package install has the commands of masq-cni that change a node: prepare sets sysctls and
// loads kernel modules, install puts the plugin and its configuration into place, uninstall
// removes them, the rules and the records.
package install

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/internal/terminal"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/plugin"
	"github.com/masq-cni/masq-cni/pkg/cniconf"
	"github.com/masq-cni/masq-cni/pkg/cnidir"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// The modes of install.
const (
	chainMode   = "chain"
	networkMode = "network"
)

// install is what an install is to do.
type install struct {
	watch       bool
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

	logs      bool // --log
	userAgent string

	log    *slog.Logger
	report installReport
	given  []byte          // the keys, read
	entry  json.RawMessage // behind another plugin
	ranges []netip.Prefix
	said   map[string]bool // warnings that were given before
}

// Command returns the command install. The API server gets userAgent.
func Command(n *node.Node, userAgent string) *cobra.Command {
	var i install
	c := &cobra.Command{
		Use:   "install",
		Short: "Puts the plugin into place, and into the configuration of the network",
		Long: `Puts the plugin masq into --bin-dir, once masqd is ready, and configures CNI in
--conf-dir:

  --mode chain    puts masq behind the first plugin of the network that the runtime
                  uses: the first file by name that can be read. The rest of the file
                  stays as it is, to the byte. Before a file that can have one plugin
                  only (.conf) a list is written that has both.
  --mode network  writes a network of masq's own, with the node's pod ranges from
                  --pod-cidr, or from the Node that --node-name names.

Files are replaced whole: a runtime, or a plugin that runs, never meets half of one.
What is as it should be is left alone, so it can be run again at any time.

On a terminal it prints sentences; elsewhere, with --log and with --watch, log lines
to standard error.

With --watch it goes on, and puts back what others take away: the plugin of the
network may write its file again. When it ends everything stays; masq-cni uninstall
removes it. It needs no capability where the directories are root's and it is root.`,
		Example: `  masq-cni install --ready-url ''
  masq-cni install --watch --mode network --node-name "$NODE_NAME"
  masq-cni install --plugin-config '{"nonMasqueradeCIDRs": ["10.0.0.0/8"]}'`,
		Args: arity.None,
		PreRunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().Changed("netns") {
				return errors.New("--netns: directories are installed to, not namespaces; leave the flag out")
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error {
			i.stateDir, i.userAgent = n.StateDir, userAgent
			i.log = slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))
			i.report = logReport{i.log}
			if out := c.OutOrStdout(); !i.watch && !i.logs && terminal.Is(out) {
				i.report = sentences{out}
			}
			return i.run(c.Context())
		},
	}
	f := c.Flags()
	f.BoolVar(&i.watch, "watch", false, "stay, and put back what others take away")
	f.BoolVar(&i.logs, "log", false, "write log lines on a terminal too")
	f.StringVar(&i.mode, "mode", chainMode, "`chain|network`: after the plugin of the network that is there, or as a network of its own")
	f.StringVar(&i.binDir, "bin-dir", cnidir.DefaultBinDir, "the `DIR` in which the runtime looks for plugins")
	f.StringVar(&i.confDir, "conf-dir", cnidir.DefaultConfDir, "the `DIR` in which the runtime looks for networks")
	f.StringVar(&i.program.Source, "plugin", "", "the plugin's `FILE` (default: masq beside this program, or where the packages have it)")
	f.BoolVar(&i.program.Force, "force", false, "replace a newer plugin, or a program called masq that is another's")
	f.StringVar(&i.readyURL, "ready-url", "http://127.0.0.1:9468/readyz", "the `URL` at which masqd says that it is ready, which is waited for, or unix: and the path of its socket; empty: do not wait")
	f.StringVar(&i.keys, "plugin-config", "", "further keys of masq's configuration, a JSON object or the `JSON|FILE` of one")
	f.StringSliceVar(&i.podCIDRs, "pod-cidr", nil, "with --mode network, the pod range of the node, a `PREFIX`; more of them by commas")
	f.StringVar(&i.nodeName, "node-name", "", "with --mode network, the Node `NAME` whose pod ranges are asked for at the API server, by the pod's service account")
	f.StringVar(&i.confName, "conf-name", "10-masq.conflist", "with --mode network, the `NAME` of the file; the first by name is used")
	f.StringVar(&i.networkName, "network", "masq-cni", "with --mode network, the `NAME` of the network")
	f.StringVar(&i.cniVersion, "cni-version", "1.0.0", "with --mode network, the `VERSION` of CNI; 1.1.0 has STATUS and GC, and is refused by containerd 1 and podman 4")
	_ = c.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{chainMode, networkMode}, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	return c
}

// prepare reports every flag that nothing can be done with, and reads what they name.
func (i *install) prepare() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, f := range []struct{ name, value string }{{"bin-dir", i.binDir}, {"conf-dir", i.confDir}} {
		if f.value == "" {
			fail("--%s is empty; give a directory, or leave the flag out", f.name)
		}
	}
	if err := checkURL(i.readyURL); err != nil {
		errs = append(errs, err)
	}
	for _, s := range i.podCIDRs {
		p, bad := masq.ParsePrefix(strings.TrimSpace(s))
		if bad != nil {
			fail("--pod-cidr: %s: %s", masq.Quote(s), bad)
		}
		i.ranges = append(i.ranges, p)
	}
	switch {
	case i.mode == networkMode && i.nodeName == "" && len(i.podCIDRs) == 0:
		fail("--mode network needs the node's pod ranges; give --pod-cidr, or --node-name to have them asked for")
	case i.mode == networkMode && i.nodeName != "" && len(i.podCIDRs) > 0:
		fail("--pod-cidr and --node-name both say what the pod ranges are; give one of them")
	case i.mode == chainMode && (i.nodeName != "" || len(i.podCIDRs) > 0):
		fail("--pod-cidr and --node-name are for --mode network; the plugin before masq gives out the addresses")
	case i.mode != chainMode && i.mode != networkMode:
		fail("--mode %q is not known; give chain or network", i.mode)
	}
	if filepath.Ext(i.confName) != ".conflist" || filepath.Base(i.confName) != i.confName || strings.HasPrefix(i.confName, ".") {
		fail("--conf-name %q is not a name such as 10-masq.conflist", i.confName)
	}
	if err := i.readKeys(); err != nil {
		fail("--plugin-config: %w", err)
	}
	if i.program.Source == "" {
		self, err := os.Executable()
		if err == nil {
			i.program.Source, err = plugin.Find(self)
		}
		if err != nil {
			errs = append(errs, err)
		}
	} else if info, err := os.Stat(i.program.Source); err != nil || !info.Mode().IsRegular() {
		fail("--plugin %q is not there, or no file; give the path of masq", i.program.Source)
	}
	return errors.Join(errs...)
}

// readKeys reads --plugin-config, and has the plugin's own reader judge it.
func (i *install) readKeys() (err error) {
	i.given = []byte(strings.TrimSpace(i.keys))
	if i.keys != "" && !bytes.HasPrefix(i.given, []byte("{")) {
		if i.given, err = os.ReadFile(i.keys); err != nil {
			return err
		}
	}
	typed := i.given
	if i.given, err = withStateDir(i.given, i.stateDir); err != nil {
		return err
	}
	if i.entry, err = cnidir.Entry(i.given); err != nil {
		return err
	}
	if len(typed) > 0 { // faults have their lines and columns in this text
		if err := i.judge(typed); err != nil {
			return err
		}
	}
	return i.judge(i.entry)
}

// withStateDir adds where records are kept, unless that is said, or is where they are
// kept anyway.
func withStateDir(given []byte, dir string) ([]byte, error) {
	keys := map[string]json.RawMessage{}
	if len(given) > 0 {
		if err := json.Unmarshal(given, &keys); err != nil {
			return nil, fmt.Errorf("is not a JSON object: %w", err)
		}
	}
	if _, has := keys["stateDir"]; !has && dir != store.DefaultDir && keys != nil {
		keys["stateDir"], _ = json.Marshal(dir) // a string always can
	}
	return json.Marshal(keys)
}

// judge checks an entry, or keys of an entry, as the plugin does. The lines and columns
// of faults are positions in the text.
func (i *install) judge(text []byte) error {
	keys := bytes.TrimSuffix(bytes.TrimSpace(text), []byte("}"))
	if !bytes.HasSuffix(bytes.TrimSpace(keys), []byte("{")) {
		keys = append(slices.Clone(keys), ',')
	}
	_, err := cniconf.Load(fmt.Appendf(nil, `%s"name":%q,"cniVersion":%q}`, keys, i.networkName, i.cniVersion), "")
	if fault, ok := errors.AsType[*types.Error](err); ok {
		return fmt.Errorf("%s: %s", fault.Msg, fault.Details)
	}
	return err
}

// run installs, and stays with --watch.
func (i *install) run(ctx context.Context) error {
	i.said = map[string]bool{}
	if err := i.prepare(); err != nil {
		return err
	}
	err := i.await(ctx)
	switch {
	case err != nil && ctx.Err() != nil && i.watch:
		return nil // told to end before there was anything to do
	case err != nil:
		return err
	case i.watch:
		return i.follow(ctx)
	}
	changed := false
	for {
		now, err := i.look(ctx)
		if changed = changed || now; err == nil {
			i.report.done(i, changed)
		}
		if !errors.Is(err, cnidir.ErrUnsettled) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(unsettled):
		}
	}
}

// await waits for masqd, and for the node's pod ranges.
func (i *install) await(ctx context.Context) error {
	if err := awaitReady(ctx, i.readyURL, i.report); err != nil {
		return err
	}
	if i.mode == networkMode && i.nodeName != "" {
		c, err := inCluster(os.Getenv, i.userAgent)
		if err != nil {
			return fmt.Errorf("--node-name: %w", err)
		}
		if i.ranges, err = c.awaitRanges(ctx, i.nodeName, i.report); err != nil {
			return err
		}
	}
	return nil
}

// look does what is to be done, and reports whether anything was.
func (i *install) look(ctx context.Context) (changed bool, err error) {
	done, err := i.program.Install(ctx, i.binDir)
	if err != nil {
		return false, err
	}
	if done.Changed {
		i.report.installed(done)
	}
	look, err := i.configure(ctx)
	for _, c := range look.Changes {
		i.report.changed(c)
	}
	for _, w := range look.Warnings {
		if !i.said[w] {
			i.said[w] = true
			i.report.warning(w)
		}
	}
	return done.Changed || len(look.Changes) > 0, err
}

// configure has the directory of networks be as the mode says.
func (i *install) configure(ctx context.Context) (cnidir.Look, error) {
	if i.mode == chainMode {
		return cnidir.Chain(ctx, i.confDir, i.entry)
	}
	entry, err := cnidir.MainEntry(i.given, i.ranges, leasesDir(i.stateDir))
	if err != nil {
		return cnidir.Look{}, err
	}
	if err := i.judge(entry); err != nil {
		return cnidir.Look{}, err
	}
	if err := os.MkdirAll(i.confDir, 0o755); err != nil {
		return cnidir.Look{}, err
	}
	_, err = os.Stat(filepath.Join(i.binDir, "portmap"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cnidir.Look{}, err
	}
	network := cnidir.Network{Name: i.networkName, CNIVersion: i.cniVersion, Entry: entry, Portmap: err == nil}
	return network.Write(ctx, i.confDir, i.confName, i.entry)
}

// once says something the first time only.
func (i *install) once(ctx context.Context, level slog.Level, what string, args ...any) {
	text := fmt.Sprint(append([]any{what}, args...)...)
	if !i.said[text] {
		i.said[text] = true
		i.log.Log(ctx, level, what, args...)
	}
}

// leasesDir is where a network of our own keeps its leases: after a reboot they are as
// gone as the containers.
func leasesDir(stateDir string) string { return filepath.Join(stateDir, "leases") }
