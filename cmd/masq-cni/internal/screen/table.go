package screen

import (
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/report"
)

const (
	// scrollStep is how many cells lines of text are scrolled by a key.
	scrollStep = 8
	// columnGap is the number of cells between two columns.
	columnGap = 2
)

// table returns the heading and the rows as lines that fit the terminal.
func (m *model[T]) table(rows []*row[T]) []string {
	var heading []string
	for _, c := range m.Columns {
		heading = append(heading, c.Name)
	}
	table := [][]string{heading}
	for i := range rows {
		table = append(table, report.Cells(m.Columns, &rows[i].value))
	}
	if m.widths == nil {
		m.widths = make([]int, len(m.Columns))
	}
	for _, row := range table {
		for i, text := range row {
			m.widths[i] = max(m.widths[i], cells(text))
		}
	}
	columns := []int{0}
	if m.isText() {
		m.left = min(m.left, max(0, m.widths[0]-m.width+scrollStep-1)/scrollStep)
		for _, line := range table[1:] {
			line[0] = cutLeft(line[0], m.left*scrollStep)
		}
	} else {
		m.left = min(m.left, len(m.Columns)-1)
		columns = m.shownColumns()
	}
	out := make([]string, len(table))
	for at, row := range table {
		room := m.width
		for _, i := range columns {
			text := cut(row[i]+strings.Repeat(" ", max(0, m.widths[i]-cells(row[i])+columnGap)), room)
			room -= m.widths[i] + columnGap
			if at == 0 {
				text = m.paintHeading(i, text)
			}
			out[at] += text
			if room <= 0 {
				break
			}
		}
		out[at] = strings.TrimRight(out[at], " ")
	}
	return out
}

// shownColumns returns the columns from the first that is not scrolled past. The sort
// column comes second, or first, if it would not fit otherwise.
func (m *model[T]) shownColumns() []int {
	var out []int
	for i := m.left; i < len(m.Columns); i++ {
		out = append(out, i)
	}
	at := m.column - m.left
	end := 0
	for i := 0; i <= at; i++ {
		end += m.widths[m.left+i] + columnGap
	}
	if at <= 0 || end-columnGap <= m.width {
		return out
	}
	out = slices.Delete(out, at, at+1)
	if m.widths[m.left]+columnGap+m.widths[m.column] > m.width {
		return slices.Insert(out, 0, m.column)
	}
	return slices.Insert(out, 1, m.column)
}

// paintHeading paints the heading of a column, and marks the sort column.
func (m *model[T]) paintHeading(column int, text string) string {
	word := strings.TrimRight(text, " ")
	code := report.Bold
	if column == m.column && !m.isText() {
		code = report.BoldReversed
	}
	return m.style.Paint(code, word) + text[len(word):]
}
