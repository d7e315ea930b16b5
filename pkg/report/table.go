package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Style is how text is written for a person.
type Style struct {
	// Colour is for terminals.
	Colour bool
	// Wide has more columns.
	Wide bool
}

const (
	bold  = "1"
	red   = "31"
	green = "32"
)

func (s Style) paint(code, text string) string {
	if !s.Colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// block is how many rows are aligned with each other: a table of millions is
// written as it comes.
const block = 512

// table writes rows in columns. Cells are cleaned before they come here.
type table struct {
	w     io.Writer
	style Style
	buf   bytes.Buffer
	tab   *tabwriter.Writer
	head  []string
	rows  int
	begun bool
}

func newTable(w io.Writer, s Style, head ...string) *table {
	t := &table{w: w, style: s, head: head}
	t.tab = tabwriter.NewWriter(&t.buf, 0, 0, 2, ' ', 0)
	return t
}

func (t *table) row(cells ...string) error {
	if t.rows == 0 {
		t.line(t.head) // aligns each block with the heading's words
	}
	t.line(cells)
	if t.rows++; t.rows < block {
		return nil
	}
	return t.flush()
}

func (t *table) line(cells []string) {
	for i, c := range cells {
		if c == "" {
			c = "-"
		}
		if i > 0 {
			_, _ = t.tab.Write([]byte("\t")) // to memory
		}
		_, _ = io.WriteString(t.tab, c)
	}
	_, _ = t.tab.Write([]byte("\n"))
}

// flush writes what there is; a table without rows is its heading.
func (t *table) flush() error {
	if t.rows == 0 {
		if t.begun {
			return nil
		}
		t.line(t.head)
	}
	_ = t.tab.Flush()
	head, rest, _ := strings.Cut(t.buf.String(), "\n")
	t.buf.Reset()
	t.rows = 0
	if !t.begun {
		t.begun = true
		rest = t.style.paint(bold, head) + "\n" + rest
	}
	_, err := io.WriteString(t.w, rest)
	return err
}

// size is a number of bytes for a person.
func size(n uint64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	x, unit := float64(n)/1000, 0
	const units = "kMGTPE"
	for x >= 999.95 && unit < len(units)-1 {
		x, unit = x/1000, unit+1
	}
	return fmt.Sprintf("%.1f %cB", x, units[unit])
}

// span is a duration for a person: two units of it.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		d = d.Round(time.Minute)
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	d = d.Round(time.Hour)
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}
