package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/cnidir"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/safedir"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// uninstall removes an installation. Empty directories of CNI are kept.
type uninstall struct {
	binDir, confDir string
	program         cnidir.Program
	keepRunning     bool
	force           bool
}

// UninstallCommand returns the command uninstall.
func UninstallCommand(n *node.Node) *cobra.Command {
	var u uninstall
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Removes the rules and records of the node, and the installation",
		Long: `Removes table inet masq and the records of the node's attachments. Links and leases
belong to containers that may still run; DEL removes them, with or without records. Stop
masqd first, because it would restore the rules.

The command refuses while live attachments depend on the table, because their traffic
would leave untranslated. It also refuses a --state-dir that does not exist. --force
overrides both.

With --conf-dir it first removes masq from the networks there, which then have their
previous content, byte for byte, and removes networks that masq-cni install wrote. With
--bin-dir it finally removes the plugin. Stop masq-cni install --watch first, because it
would restore both.

A runtime needs the plugin to remove a container whose link masq made. CRI-O and podman
remember the network of each container, and need the plugin for all of them. Remove such
containers first.`,
		Example: `  masq-cni uninstall
  masq-cni uninstall --bin-dir /opt/cni/bin --conf-dir /etc/cni/net.d`,
		Args: arity.None,
		RunE: func(c *cobra.Command, _ []string) error {
			if !u.force {
				if err := checkRemoval(n, u.binDir != "" || u.confDir != ""); err != nil {
					return err
				}
			}
			err := u.run(c.Context(), n.StateDir, c.OutOrStdout(), c.ErrOrStderr())
			if err == nil && u.keepRunning {
				<-c.Context().Done()
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&u.binDir, "bin-dir", "", "remove the plugin from this `DIR`, unless it is another program")
	f.StringVar(&u.confDir, "conf-dir", "", "remove masq from the networks in this `DIR`")
	f.BoolVar(&u.force, "force", false, "remove the rules even of live attachments, or if --state-dir does not exist")
	f.BoolVar(&u.keepRunning, "stay", false, "keep running afterwards, for a DaemonSet, which would restart the program")
	f.StringVar(&u.program.Source, "plugin", "", "with --bin-dir, remove the plugin also if it cannot be run, but equals this `FILE`")
	return c
}

func (u *uninstall) run(ctx context.Context, stateDir string, stdout, stderr io.Writer) error {
	var done []string
	removed := func(format string, args ...any) { done = append(done, "removed: "+fmt.Sprintf(format, args...)) }
	// Print what was removed, even if a later step fails.
	err := func() error {
		// Change the networks first, so that no new container gets rules.
		if u.confDir != "" {
			if err := u.removeFromNetworks(ctx, removed); err != nil {
				return err
			}
		}
		found, records, chained, err := removeRules(stateDir)
		if err != nil {
			return err
		}
		if err := removeLeases(leasesDir(stateDir)); err != nil {
			_, _ = fmt.Fprintln(stderr, "warning:", err)
		}
		_ = os.Remove(stateDir) // fails if other files are in it
		if found {
			removed("table inet masq, %s", report.Plural(records, "record"))
		}
		if u.binDir == "" {
			return nil
		}
		if own := records - chained; own > 0 {
			_, _ = fmt.Fprintf(stderr, "warning: masq made the links of %s: the runtime needs the plugin to remove the containers\n", report.Plural(own, "attachment"))
		}
		gone, err := u.program.Uninstall(ctx, u.binDir)
		if gone {
			removed("%s", filepath.Join(u.binDir, cnidir.Plugin))
		}
		return err
	}()
	if len(done) == 0 && err == nil {
		done = append(done, "nothing to remove")
	}
	if len(done) > 0 {
		_, errPrint := fmt.Fprintln(stdout, strings.Join(done, "\n"))
		err = errors.Join(err, errPrint)
	}
	return err
}

// removeFromNetworks removes masq from the networks of confDir.
func (u *uninstall) removeFromNetworks(ctx context.Context, removed func(string, ...any)) error {
	outcome, stillUsing, err := cnidir.Remove(ctx, u.confDir)
	for _, c := range outcome.Changes {
		if c.Action == cnidir.EntryRemoved {
			removed("masq from %s", c.Path)
		} else {
			removed("%s", c.Path)
		}
	}
	if err != nil {
		return err
	}
	if len(stillUsing) > 0 {
		return fmt.Errorf("masq is in a network that masq-cni install did not write: %s; remove it there, and run uninstall again", strings.Join(stillUsing, ", "))
	}
	return nil
}

// removeRules removes the rules and the records of the node. all is the number of records,
// chained the number of records of attachments whose links another plugin made. found is
// false if the node had no rules, no policy and no records.
func removeRules(stateDir string) (found bool, all, chained int, err error) {
	records, err := store.Open(stateDir)
	if err != nil {
		return false, 0, 0, err
	}
	kept, err := records.All()
	unreadable := store.ReadErrors(err)
	if err != nil && len(unreadable) == 0 {
		return false, 0, 0, err
	}
	rules, err := nft.Open()
	if err != nil {
		return false, 0, 0, err
	}
	defer func() { _ = rules.Close() }()
	if found, err = rules.Exists(); err != nil {
		return false, 0, 0, err
	}
	if err := rules.Uninstall(); err != nil {
		return false, 0, 0, err
	}
	if policy, err := records.Node(); policy != nil || err != nil {
		found = true
	}
	for _, r := range kept {
		if r.Chained {
			chained++
		}
	}
	if err := errors.Join(records.PutNode(nil), records.DeleteMSSClamps(), records.DeleteAll()); err != nil {
		return false, 0, 0, err
	}
	// Remove fails if the directory has files of other nodes.
	removeLock(records.LockPath())
	_ = os.Remove(records.Dir())
	all = len(kept) + len(unreadable)
	return found || all > 0, all, chained, nil
}

// removeLeases removes the lease directories of the networks that masq-cni install wrote. It
// keeps a directory with leases, and returns an error for it.
func removeLeases(dir string) error {
	networks, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range networks {
		network := filepath.Join(dir, n.Name())
		files, err := os.ReadDir(network)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		leases := 0
		for _, f := range files {
			if f.Name() != "lock" && !strings.HasPrefix(f.Name(), "last_reserved_ip.") {
				leases++
			}
		}
		if leases > 0 {
			errs = append(errs, fmt.Errorf("%s has %s of containers that still exist; it is kept", network, report.Plural(leases, "lease")))
			continue
		}
		errs = append(errs, os.RemoveAll(network))
	}
	_ = os.Remove(dir) // fails unless it is empty
	return errors.Join(errs...)
}

// removeLock removes the lock of masqd and the socket of a killed masqd, unless a masqd holds
// the lock. A masqd of another network namespace may share the directory.
func removeLock(path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	if safedir.TryLock(f) != nil {
		return
	}
	if socket, ok := strings.CutPrefix(store.ReadDaemon(f).Health, "unix:"); ok {
		if info, err := os.Lstat(socket); err == nil && info.Mode().Type() == fs.ModeSocket {
			_ = os.Remove(socket)
		}
	}
	_ = os.Remove(path)
}
