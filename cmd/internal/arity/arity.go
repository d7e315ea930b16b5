// Package arity checks the number of a command's arguments. Its errors name the command
// and the arguments it takes, and suggest similar commands for a mistyped one.
package arity

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// None accepts no arguments. A command with commands below it uses it too.
func None(c *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case c.HasAvailableSubCommands():
		return unknown(c, args[0])
	}
	return fmt.Errorf("%s takes no arguments, but got %s; see %s --help", c.CommandPath(), masq.Quote(args[0]), c.CommandPath())
}

// One accepts one argument. what describes it, as in the usage of the command.
func One(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch len(args) {
		case 1:
			return nil
		case 0:
			return fmt.Errorf("%s needs an argument, %s; see %s --help", c.CommandPath(), what, c.CommandPath())
		}
		return fmt.Errorf("%s takes one argument, %s, but got %d: %s; see %s --help", c.CommandPath(), what, len(args), quoted(args), c.CommandPath())
	}
}

// Two accepts two arguments, which first and second describe.
func Two(first, second string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch len(args) {
		case 2:
			return nil
		case 0, 1:
			return fmt.Errorf("%s needs two arguments, %s and %s; see %s --help", c.CommandPath(), first, second, c.CommandPath())
		}
		return fmt.Errorf("%s takes two arguments, %s and %s, but got %d: %s; see %s --help", c.CommandPath(), first, second, len(args), quoted(args), c.CommandPath())
	}
}

// Some accepts one argument or more.
func Some(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return nil
		}
		return fmt.Errorf("%s needs at least one argument, %s; see %s --help", c.CommandPath(), what, c.CommandPath())
	}
}

func quoted(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = masq.Quote(a)
	}
	return strings.Join(out, ", ")
}

// maxDistance is the greatest edit distance of a mistyped command to a suggestion.
const maxDistance = 2

func unknown(c *cobra.Command, word string) error {
	c.SuggestionsMinimumDistance = maxDistance
	suggestion := ""
	if all := c.SuggestionsFor(word); len(all) > 0 {
		suggestion = fmt.Sprintf("did you mean %s? ", strings.Join(all, " or "))
	}
	return fmt.Errorf("%s has no command %s; %ssee %s --help", c.CommandPath(), masq.Quote(word), suggestion, c.CommandPath())
}
