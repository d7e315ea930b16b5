package screen

import (
	"bytes"
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// Result is what a command found, in the forms in which it may be shown.
type Result[T any] struct {
	Value any                                 // for JSON and YAML
	Text  func(io.Writer, report.Style) error // writes it once, for a person
	Rows  []T                                 // for --watch
	Remarks
}

// Show shows what find returns: once, or with --watch repeatedly.
func Show[T any](c *cobra.Command, x Flags, w output.Writer, s Source[T], find func(context.Context) (Result[T], error)) error {
	if x.Watch {
		s.Read = func(ctx context.Context, add func(T)) (Remarks, error) {
			r, err := find(ctx)
			for _, row := range r.Rows {
				add(row)
			}
			return r.Remarks, err
		}
		return Watch(c, x, w, s)
	}
	r, err := find(c.Context())
	if err != nil {
		return err
	}
	if err := w.Show(r.Value, r.Text); err != nil {
		return err
	}
	return r.Fault
}

// ShowText is Show for text that is not a table. With --watch its rows are the lines of
// the text.
func ShowText(c *cobra.Command, x Flags, w output.Writer, heading string, find func(context.Context) (Result[string], error)) error {
	s := Source[string]{
		Name: "lines",
		// The space keeps an empty line from becoming a dash.
		Columns: []report.Column[string]{{Name: heading, Cell: func(line *string) string { return *line + " " }}},
	}
	return Show(c, x, w, s, func(ctx context.Context) (Result[string], error) {
		r, err := find(ctx)
		if err != nil || !x.Watch {
			return r, err
		}
		var b bytes.Buffer
		err = r.Text(&b, report.Style{Wide: w.Wide})
		r.Rows = strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		return r, err
	})
}
