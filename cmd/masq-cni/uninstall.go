package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/store"
)

func uninstallCommand() *cobra.Command {
	var stateDir string
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Removes the rules and the records of this node, and nothing else",
		Long: `Removes table inet masq and the records of this node's attachments. Links and
leases belong to containers that may still run: DEL removes them, with or without
records. End masqd first, or it puts the rules back.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			records, err := store.Open(stateDir)
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
			_ = os.Remove(records.Dir() + "/masqd.lock")
			_ = os.Remove(records.Dir())
			_ = os.Remove(stateDir)
			_, err = fmt.Fprintf(c.OutOrStdout(), "removed: table inet masq, %d records\n", len(all))
			return err
		},
	}
	c.Flags().StringVar(&stateDir, "state-dir", store.DefaultDir, "where the plugin keeps its records")
	return c
}
