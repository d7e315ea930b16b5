// Package exitcode maps the error of a command to the exit code of masq-cni.
//
// A command whose exit code answers a question, such as who, ends with 0 or 1 for its
// answer, and with 2 if it could not query: see Answering. Other commands end with 1 for
// every error.
package exitcode

import (
	"errors"

	"github.com/spf13/cobra"
)

// ErrFailed ends a command with exit code 1. Its output has already told why, so no
// message is printed.
var ErrFailed = errors.New("failed")

// QueryError ends a command with exit code 2: the command could not query.
type QueryError struct{ Err error }

func (e QueryError) Error() string { return e.Err.Error() }
func (e QueryError) Unwrap() error { return e.Err }

// Of returns the exit code for the error of a command.
func Of(err error) int {
	if _, ok := errors.AsType[QueryError](err); ok {
		return 2
	}
	if err != nil {
		return 1
	}
	return 0
}

// Answering makes every error of c except ErrFailed a QueryError, including invalid flags and
// arguments. It returns c.
func Answering(c *cobra.Command) *cobra.Command {
	query := func(err error) error {
		if err == nil || errors.Is(err, ErrFailed) {
			return err
		}
		return QueryError{err}
	}
	args, run := c.Args, c.RunE
	c.Args = func(c *cobra.Command, a []string) error { return query(args(c, a)) }
	c.RunE = func(c *cobra.Command, a []string) error { return query(run(c, a)) }
	c.PersistentPreRunE = func(c *cobra.Command, a []string) error { return query(c.Root().PersistentPreRunE(c, a)) }
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return query(err) })
	return c
}
