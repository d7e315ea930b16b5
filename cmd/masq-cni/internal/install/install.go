package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/plugin"
	"github.com/masq-cni/masq-cni/pkg/cnidir"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// prepare reports every invalid flag, and reads the files that flags name.
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
		fail("--mode network needs the node's pod ranges; give --pod-cidr, or --node-name to read them from the API server")
	case i.mode == networkMode && i.nodeName != "" && len(i.podCIDRs) > 0:
		fail("--pod-cidr and --node-name both give the pod ranges; give only one of them")
	case i.mode == chainMode && (i.nodeName != "" || len(i.podCIDRs) > 0):
		fail("--pod-cidr and --node-name are for --mode network; with --mode chain, the plugin before masq assigns the addresses")
	case i.mode != chainMode && i.mode != networkMode:
		fail("--mode %q is not known; give chain or network", i.mode)
	}
	if filepath.Ext(i.confName) != ".conflist" || filepath.Base(i.confName) != i.confName || strings.HasPrefix(i.confName, ".") {
		fail("--conf-name %q is not a file name such as 10-masq.conflist", i.confName)
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
		fail("--plugin %q is not a file; give the path of masq", i.program.Source)
	}
	return errors.Join(errs...)
}

// run installs, and keeps running with --watch.
func (i *install) run(ctx context.Context) error {
	i.logged = map[string]bool{}
	if err := i.prepare(); err != nil {
		return err
	}
	err := i.wait(ctx)
	switch {
	case err != nil && ctx.Err() != nil && i.watch:
		return nil // ended before the installation began
	case err != nil:
		return err
	case i.watch:
		return i.follow(ctx)
	}
	changed := false
	for {
		now, err := i.apply(ctx)
		if changed = changed || now; err == nil {
			i.report.done(i, changed)
		}
		if !errors.Is(err, cnidir.ErrBusy) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(unsettledDelay):
		}
	}
}

// wait waits for masqd and for the node's pod ranges.
func (i *install) wait(ctx context.Context) error {
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

// apply installs the plugin and the configuration, and reports whether anything changed.
func (i *install) apply(ctx context.Context) (changed bool, err error) {
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
		if !i.logged[w] {
			i.logged[w] = true
			i.report.warning(w)
		}
	}
	return done.Changed || len(look.Changes) > 0, err
}

// configure changes the directory of networks as the mode demands.
func (i *install) configure(ctx context.Context) (cnidir.Outcome, error) {
	if i.mode == chainMode {
		return cnidir.Chain(ctx, i.confDir, i.entry)
	}
	entry, err := cnidir.MainEntry(i.given, i.ranges, leasesDir(i.stateDir))
	if err != nil {
		return cnidir.Outcome{}, err
	}
	if err := i.validate(entry); err != nil {
		return cnidir.Outcome{}, err
	}
	if err := os.MkdirAll(i.confDir, 0o755); err != nil {
		return cnidir.Outcome{}, err
	}
	_, err = os.Stat(filepath.Join(i.binDir, "portmap"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cnidir.Outcome{}, err
	}
	network := cnidir.Network{Name: i.networkName, CNIVersion: i.cniVersion, Entry: entry, Portmap: err == nil}
	return network.Write(ctx, i.confDir, i.confName, i.entry)
}

// logOnce logs a message the first time only.
func (i *install) logOnce(ctx context.Context, level slog.Level, what string, args ...any) {
	text := fmt.Sprint(append([]any{what}, args...)...)
	if !i.logged[text] {
		i.logged[text] = true
		i.log.Log(ctx, level, what, args...)
	}
}

// leasesDir returns the directory of the leases of a network that install writes. A reboot
// removes it, like the containers.
func leasesDir(stateDir string) string { return filepath.Join(stateDir, "leases") }
