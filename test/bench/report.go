package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
)

// section is one table of the report.
type section struct {
	title string
	note  string // remark below the table
	rows  []row
}

// of adds the rows of its parts.
func (s section) of(ctx context.Context, parts ...func(context.Context) ([]row, error)) (section, error) {
	for _, part := range parts {
		rows, err := part(ctx)
		if err != nil {
			return s, err
		}
		s.rows = append(s.rows, rows...)
	}
	return s, nil
}

// row is one measured subject.
type row struct {
	what    string
	show    format
	values  sample
	against string // subject that ratio compares with
	ratio   *ratio
	target  target
}

// format formats a value with its unit.
type format func(float64) string

var (
	millis format = func(v float64) string { return fmt.Sprintf("%.2f ms", v) }
	plain  format = func(v float64) string { return fmt.Sprintf("%g", v) }
	// perSecond groups digits: rates have up to seven.
	perSecond format = func(v float64) string { return grouped(v) + "/s" }
)

func grouped(v float64) string {
	text := fmt.Sprintf("%.0f", v)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// target is a limit that the project has set. The zero value is no target.
type target struct {
	limit float64
	side  side
	value func(row) float64 // compared value; the ratio if nil
}

// median is the compared value of a target for the row itself.
func median(r row) float64 { return r.values.median() }

type side int

const (
	_ side = iota
	atMost
	atLeast
)

func (t target) String() string {
	switch t.side {
	case atMost:
		return fmt.Sprintf("≤ %g", t.limit)
	case atLeast:
		return fmt.Sprintf("≥ %g", t.limit)
	}
	return ""
}

// verdict says whether the row meets its target, or "" without a target.
func (r row) verdict() string {
	if r.target.side == 0 {
		return ""
	}
	v := math.NaN()
	if r.target.value != nil {
		v = r.target.value(r)
	} else if r.ratio != nil {
		v = r.ratio.value
	}
	met := v <= r.target.limit
	if r.target.side == atLeast {
		met = v >= r.target.limit
	}
	if met {
		return "met"
	}
	return "**missed**"
}

func (r row) cells() []string {
	out := []string{r.what, r.show(r.values.median()), "", r.against, "", "", r.target.String(), r.verdict()}
	if len(r.values) > 1 {
		out[2] = r.show(r.values.at(0.1)) + " – " + r.show(r.values.at(0.9))
	}
	if r.ratio != nil {
		out[4] = fmt.Sprintf("%.3f", r.ratio.value)
		out[5] = fmt.Sprintf("%.3f – %.3f", r.ratio.p10, r.ratio.p90)
	}
	return out
}

// write prints the section in Markdown.
func (s section) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n### %s\n\n", s.title)
	b.WriteString("| | median | p10 – p90 | compared with | ratio | p10 – p90 | target | |\n")
	b.WriteString("|---|--:|--:|---|--:|--:|--:|---|\n")
	for _, r := range s.rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(r.cells(), " | "))
	}
	if s.note != "" {
		fmt.Fprintf(&b, "\n%s\n", s.note)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
