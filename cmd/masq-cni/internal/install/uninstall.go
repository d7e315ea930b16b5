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
	"github.com/masq-cni/masq-cni/pkg/safedir"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// uninstall is what of an install is to go. Empty directories are left alone.
type uninstall struct {
	binDir, confDir string
	program         cnidir.Program
	stay, force     bool
}

// UninstallCommand returns the command uninstall.
func UninstallCommand(n *node.Node) *cobra.Command {
	var u uninstall
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Removes the rules and the records of the node, and what was installed",
		Long: `Removes table inet masq and the records of the node's attachments. Links and
leases belong to containers that may still run: DEL removes them, with or without
records. End masqd first, or it puts the rules back.

While live attachments depend on the table it refuses: their traffic would leave
untranslated. It also refuses a --state-dir that does not exist. --force removes the
rules all the same.

With --conf-dir it first takes masq out of the networks there, which are then as they
were before, to the byte, and removes those that masq-cni install has written. With
--bin-dir it removes the plugin at last. End masq-cni install --watch first, or it
puts them back.

A runtime that remembers the network of each container, as CRI-O and podman do, and
one whose containers have their links from masq, needs the plugin to remove them:
remove such containers before.`,
		Example: `  masq-cni uninstall
  masq-cni uninstall --bin-dir /opt/cni/bin --conf-dir /etc/cni/net.d`,
		Args: arity.None,
		RunE: func(c *cobra.Command, _ []string) error {
			if !u.force {
				if err := refuse(n, u.binDir != "" || u.confDir != ""); err != nil {
					return err
				}
			}
			err := u.run(c.Context(), n.StateDir, c.OutOrStdout(), c.ErrOrStderr())
			if err == nil && u.stay {
				<-c.Context().Done()
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&u.binDir, "bin-dir", "", "remove the plugin from this `DIR`, if it is masq-cni's")
	f.StringVar(&u.confDir, "conf-dir", "", "take masq out of the networks in this `DIR`")
	f.BoolVar(&u.force, "force", false, "remove the rules of live attachments too, and where --state-dir does not exist")
	f.BoolVar(&u.stay, "stay", false, "stay when all is removed: in a DaemonSet, a program that ends is started again")
	f.StringVar(&u.program.Source, "plugin", "", "a `FILE`: the plugin is masq-cni's where it is the same, too")
	return c
}

func (u *uninstall) run(ctx context.Context, stateDir string, stdout, stderr io.Writer) error {
	var done []string
	removed := func(format string, args ...any) { done = append(done, "removed: "+fmt.Sprintf(format, args...)) }
	// What was done is said, whatever comes after it.
	err := func() error {
		// First: a container that starts meanwhile would have rules again.
		if u.confDir != "" {
			if err := u.takeOut(ctx, removed); err != nil {
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
		_ = os.Remove(stateDir) // gone where nobody else keeps anything there
		if found {
			removed("table inet masq, %d records", records)
		}
		if u.binDir == "" {
			return nil
		}
		if own := records - chained; own > 0 {
			_, _ = fmt.Fprintf(stderr, "warning: %d attachments had their links from masq: their runtime can remove the containers only with the plugin\n", own)
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

// takeOut takes masq out of the networks.
func (u *uninstall) takeOut(ctx context.Context, removed func(string, ...any)) error {
	look, in, err := cnidir.Remove(ctx, u.confDir)
	for _, c := range look.Changes {
		if c.What == cnidir.TakenOut {
			removed("masq from %s", c.Path)
		} else {
			removed("%s", c.Path)
		}
	}
	if err != nil {
		return err
	}
	if len(in) > 0 {
		return fmt.Errorf("masq is still in a network that masq-cni install has not written: %s; remove it there, and run this again", strings.Join(in, ", "))
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
	if err := errors.Join(records.PutNode(nil), records.DeleteAll()); err != nil {
		return false, 0, 0, err
	}
	// Gone where nobody else keeps anything there.
	removeLock(records.LockPath())
	_ = os.Remove(records.Dir())
	all = len(kept) + len(unreadable)
	return found || all > 0, all, chained, nil
}

// removeLeases removes the directories of leases of networks that masq-cni install has
// written, where no address is leased any more.
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
			errs = append(errs, fmt.Errorf("%s has %d leases of containers that are still there; it is left as it is", network, leases))
			continue
		}
		errs = append(errs, os.RemoveAll(network))
	}
	_ = os.Remove(dir) // gone with the last network
	return errors.Join(errs...)
}

// removeLock removes masqd's lock, and the socket of a masqd that was killed, unless a
// masqd holds the lock: the one of another namespace may have its records here too.
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
