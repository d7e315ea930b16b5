// Package man writes the manual pages of the programs, from the same text as their
// --help.
//
// A page is roff with the man macros, for section 8. It has no date unless
// SOURCE_DATE_EPOCH gives one (https://reproducible-builds.org/specs/source-date-epoch/),
// so the same source makes the same page. To read one: man -l FILE.
package man

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
)

// Command returns a hidden command that writes the pages of the program that it is added to.
func Command() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Writes the manual pages, one for each command, into an existing directory",
		Hidden: true,
		Args:   arity.One("a directory"),
		RunE: func(c *cobra.Command, args []string) error {
			date, err := dateOf(os.Getenv("SOURCE_DATE_EPOCH"))
			if err != nil {
				return err
			}
			return write(args[0], c.Root(), date)
		},
	}
}

// dateOf returns the date of SOURCE_DATE_EPOCH, empty without it.
func dateOf(epoch string) (string, error) {
	if epoch == "" {
		return "", nil
	}
	n, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return "", fmt.Errorf("SOURCE_DATE_EPOCH is %q; give a number of seconds since 1970, or unset it", epoch)
	}
	return time.Unix(n, 0).UTC().Format(time.DateOnly), nil
}

// write writes the pages of a command and of the commands below it.
func write(dir string, c *cobra.Command, date string) error {
	if err := os.WriteFile(filepath.Join(dir, name(c)+"."+section), page(c, date), 0o644); err != nil {
		return err
	}
	for _, sub := range commands(c) {
		if err := write(dir, sub, date); err != nil {
			return err
		}
	}
	return nil
}

// commands returns the commands below c that have pages. help and completion have none.
func commands(c *cobra.Command) []*cobra.Command {
	var out []*cobra.Command
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "completion" {
			out = append(out, sub)
		}
	}
	return out
}
