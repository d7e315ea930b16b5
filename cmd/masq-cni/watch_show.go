package main

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// found is what a command has found.
type found[T any] struct {
	value any                                 // for a program
	text  func(io.Writer, report.Style) error // for a person
	rows  []T                                 // for one who watches
	remarks
}

// show shows what look finds: once, or with --watch again and again.
func show[T any](c *cobra.Command, w watching, a answer, s source[T], look func(context.Context) (found[T], error)) error {
	if w.on {
		s.look = func(ctx context.Context, add func(T)) (remarks, error) {
			f, err := look(ctx)
			for _, x := range f.rows {
				add(x)
			}
			return f.remarks, err
		}
		return watch(c, w, a, s)
	}
	f, err := look(c.Context())
	if err != nil {
		return err
	}
	if err := a.show(f.value, f.text); err != nil {
		return err
	}
	return f.fault
}

// table is a source of rows that one column sorts at first.
func table[T any](a answer, name string, columns []report.Column[T], first string) source[T] {
	columns = report.Shown(columns, a.Style)
	return source[T]{name: name, columns: columns, first: slices.IndexFunc(columns, func(c report.Column[T]) bool { return c.Name == first })}
}

// showText shows what is no table: to one who watches, its lines.
func showText(c *cobra.Command, w watching, a answer, heading string, look func(context.Context) (found[string], error)) error {
	s := source[string]{
		name: "lines",
		// The space keeps an empty line from being a dash.
		columns: []report.Column[string]{{Name: heading, Cell: func(l *string) string { return *l + " " }}},
	}
	return show(c, w, a, s, func(ctx context.Context) (found[string], error) {
		f, err := look(ctx)
		if err != nil || !w.on {
			return f, err
		}
		var b bytes.Buffer
		err = f.text(&b, report.Style{Wide: a.Wide})
		f.rows = strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		return f, err
	})
}
