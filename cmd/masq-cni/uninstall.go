package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/store"
)

func uninstallCommand(n *node) *cobra.Command {
	return &cobra.Command{
		Use:   "uninstall",
		Short: "Removes the rules and the records of the node, and nothing else",
		Long: `Removes table inet masq and the records of the node's attachments. Links and
leases belong to containers that may still run: DEL removes them, with or without
records. End masqd first, or it puts the rules back.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			records, err := store.Open(n.stateDir)
			if err != nil {
				return err
			}
			all, err := records.All()
			if err != nil && len(all) == 0 {
				return err
			}
			rules, err := nft.Open()
			if err != nil {
				return err
			}
			defer func() { _ = rules.Close() }()
			if err := rules.Uninstall(); err != nil {
				return err
			}
			errs := []error{records.PutNode(nil)}
			for _, r := range all {
				errs = append(errs, records.Delete(r.Key))
			}
			if err := errors.Join(errs...); err != nil {
				return err
			}
			// Gone where nobody else keeps anything there.
			removeLock(records.Dir())
			_ = os.Remove(records.Dir())
			_ = os.Remove(n.stateDir)
			_, err = fmt.Fprintf(c.OutOrStdout(), "removed: table inet masq, %d records\n", len(all))
			return err
		},
	}
}

// removeLock removes masqd's lock, unless a masqd holds it: the one of another
// namespace may have its records here too.
func removeLock(dir string) {
	path := filepath.Join(dir, "masqd.lock")
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		_ = os.Remove(path)
	}
}
