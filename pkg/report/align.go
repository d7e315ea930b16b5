package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/clipperhouse/displaywidth"
)

// columnGap is the number of spaces between two columns.
const columnGap = 2

// Width returns the number of cells of a terminal that a text fills. A character of Chinese,
// Japanese or Korean fills two cells, a combining one none.
func Width(s string) int { return displaywidth.String(s) }

// align returns rows as lines in which each column begins at the same cell of a terminal. The
// last cell of a row is not padded, so it may be painted.
func align(rows [][]string) string {
	var widths, cells []int // of the columns, and of all cells that are padded
	for _, row := range rows {
		for i, text := range row[:len(row)-1] {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			n := Width(text)
			widths[i] = max(widths[i], n)
			cells = append(cells, n)
		}
	}
	var line int
	for _, w := range widths {
		line += w + columnGap
	}
	var b strings.Builder
	b.Grow(len(rows) * (line + 20))
	for _, row := range rows {
		last := len(row) - 1
		for i, text := range row[:last] {
			b.WriteString(text)
			for range widths[i] - cells[i] + columnGap {
				b.WriteByte(' ')
			}
		}
		cells = cells[last:]
		b.WriteString(row[last])
		b.WriteByte('\n')
	}
	return b.String()
}

// facts writes a list of names, each with text. Text that continues the line above has no
// name.
type facts struct{ rows [][]string }

func (f *facts) add(name, format string, args ...any) {
	f.rows = append(f.rows, []string{name, fmt.Sprintf(format, args...)})
}

func (f *facts) write(w io.Writer) error {
	_, err := io.WriteString(w, align(f.rows))
	return err
}
