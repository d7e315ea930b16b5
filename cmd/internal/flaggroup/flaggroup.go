// Package flaggroup puts the flags of a command into groups, for its --help and its manual
// page.
package flaggroup

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const annotation = "masq_group"

// Put puts a flag into a group.
func Put(f *pflag.Flag, group string) {
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[annotation] = []string{group}
}

// Group is a group of flags of a command.
type Group struct {
	Name  string // empty for the flags without a group
	Flags *pflag.FlagSet
}

// Of returns the groups in the order of their names: flags without a group come first.
func Of(flags *pflag.FlagSet) []Group {
	out := []Group{{"", pflag.NewFlagSet("", pflag.ContinueOnError)}}
	at := map[string]int{"": 0}
	flags.VisitAll(func(f *pflag.Flag) {
		name := strings.Join(f.Annotations[annotation], "")
		if _, ok := at[name]; !ok {
			at[name] = len(out)
			out = append(out, Group{name, pflag.NewFlagSet("", pflag.ContinueOnError)})
		}
		out[at[name]].Flags.AddFlag(f)
	})
	slices.SortFunc(out, func(a, b Group) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Usage makes the usage of a command list its flags by group. The command must not have
// commands below it.
func Usage(c *cobra.Command) {
	c.SetUsageFunc(func(c *cobra.Command) error {
		var b strings.Builder
		fmt.Fprintf(&b, "Usage:\n  %s\n", c.UseLine())
		for _, g := range Of(c.LocalFlags()) {
			name := g.Name
			if name == "" {
				name = "Flags"
			}
			fmt.Fprintf(&b, "\n%s:\n%s", name, g.Flags.FlagUsages())
		}
		_, err := fmt.Fprint(c.OutOrStderr(), b.String())
		return err
	})
}
