package report

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// block is the number of rows that are aligned with each other, so that a table of millions
// is written in parts.
const block = 512

// table writes rows in aligned columns. Callers escape cells with Clean.
type table struct {
	w     io.Writer
	style Style
	head  []string
	rows  [][]string // not written yet
	begun bool       // the heading is written
}

func newTable(w io.Writer, s Style, head ...string) *table {
	return &table{w: w, style: s, head: head}
}

func (t *table) row(cells ...string) error {
	for i, c := range cells {
		cells[i] = orDash(c)
	}
	t.rows = append(t.rows, cells)
	if len(t.rows) < block {
		return nil
	}
	return t.flush()
}

// flush writes the remaining rows. A table without rows has only its heading.
func (t *table) flush() error {
	if t.begun && len(t.rows) == 0 {
		return nil
	}
	// The heading aligns every block.
	head, rest, _ := strings.Cut(align(append([][]string{t.head}, t.rows...)), "\n")
	t.rows = t.rows[:0]
	if !t.begun {
		t.begun = true
		rest = t.style.Paint(Bold, head) + "\n" + rest
	}
	_, err := io.WriteString(t.w, rest)
	return err
}

// size formats a number of bytes: "1.5 kB".
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

// span formats a duration with two units: "1h30m".
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
