// Package output writes what a command found: as text for a person, or as JSON or YAML
// for a program.
package output

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/terminal"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// Wide is the format of text with more columns.
const Wide = "wide"

var formats = []string{Wide, string(report.JSON), string(report.YAML)}

// Flag is the flag --output of a command.
type Flag struct{ format string }

// Register declares the flag for a command and the commands below it.
func (o *Flag) Register(c *cobra.Command) {
	c.PersistentFlags().StringVarP(&o.format, "output", "o", "", "wide: more columns; json or yaml: for a program")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

// Writer is where a command writes, and how.
type Writer struct {
	io.Writer
	report.Style
	Format report.Format // empty for text
}

// Flush writes what is buffered, before a command asks a question.
func (w Writer) Flush() error {
	if b, ok := w.Writer.(*bufio.Writer); ok {
		return b.Flush()
	}
	return nil
}

// Show writes v for a program, or calls text for a person.
func (w Writer) Show(v any, text func(io.Writer, report.Style) error) error {
	if w.Format != "" {
		return report.Write(w, w.Format, v)
	}
	return text(w, w.Style)
}

// Run returns a function for RunE of a command that calls f with the writer that the flag
// asks for. A reader that closes the pipe early, such as head, ends the command without an
// error.
func (o *Flag) Run(f func(c *cobra.Command, args []string, w Writer) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		if o.format != "" && !slices.Contains(formats, o.format) {
			return fmt.Errorf("--output %q is not known; give %s, or leave the flag out", o.format, strings.Join(formats, ", "))
		}
		// By default the signal would end the program, without the rest of its output.
		signal.Ignore(syscall.SIGPIPE)
		defer signal.Reset(syscall.SIGPIPE)
		b := bufio.NewWriterSize(c.OutOrStdout(), 64<<10)
		w := Writer{Writer: b, Style: report.Style{Color: terminal.HasColor(c.OutOrStdout()), Wide: o.format == Wide}}
		if o.format != Wide {
			w.Format = report.Format(o.format)
		}
		err := f(c, args, w)
		if flushed := b.Flush(); err == nil {
			err = flushed
		}
		if errors.Is(err, syscall.EPIPE) {
			return nil
		}
		return err
	}
}
