package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// How many lines the parts of a screen may take.
const (
	maxTitle    = 2
	maxWarnings = 3
)

func (m *screen[T]) View() tea.View {
	lines := append(m.head(), m.align(m.got.rows[m.top:min(len(m.got.rows), m.top+m.seen())])...)
	foot := m.foot()
	foot = foot[:min(len(foot), m.height)]
	for len(lines) < m.height-len(foot) {
		lines = append(lines, "")
	}
	lines = append(lines[:max(0, m.height-len(foot))], foot...)
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen = true
	return v
}

// head is what stands above the rows: the title, and below it what is wrong.
func (m *screen[T]) head() []string {
	out := wrap(m.title(), " ", m.width, maxTitle)
	for _, w := range wrap(m.warning(), " ", m.width, maxWarnings) {
		out = append(out, m.paint(red, w))
	}
	return append(out, wrap(report.Sentence(m.got.note), " ", m.width, maxWarnings)...)
}

// title says which node it is, how many rows there are, which are shown, and in which
// order.
func (m *screen[T]) title() string {
	name := m.name
	if m.got.seen == 1 {
		name = strings.TrimSuffix(name, "s")
	}
	s := fmt.Sprintf("%d %s", m.got.seen, name)
	if m.host != "" {
		s = m.host + ": " + s
	}
	if m.filter != "" {
		s += fmt.Sprintf(", %d with %q", m.got.fit, m.filter)
	}
	if n := len(m.got.rows); n < m.got.fit {
		s += fmt.Sprintf(", the first %d", n)
	}
	if !m.text() {
		s += ", by " + m.columns[m.column].Name
	}
	if m.reverse {
		s += " reversed"
	}
	s += ", at " + m.got.at.Format("15:04:05")
	if m.paused {
		s += ", paused"
	}
	return s
}

// warning is what is wrong with what is shown, empty for nothing.
func (m *screen[T]) warning() string {
	switch {
	case m.got.err != nil:
		return report.Sentence(m.got.err.Error())
	case m.got.fault != nil && !errors.Is(m.got.fault, errFailed): // that is said by the rows
		return report.Sentence(m.got.fault.Error())
	}
	return ""
}

// foot is what stands below the rows: what is typed, or which keys there are.
func (m *screen[T]) foot() []string {
	switch {
	case m.typing:
		return []string{m.clip("filter: " + m.filter + "_")}
	case m.help:
		keys := []string{"q end", "arrows, j k, PgUp PgDn scroll", "s < > 1-9 sort", "r reverse", "/ filter", "esc clear", "p pause", "? close"}
		if m.text() {
			keys = slices.DeleteFunc(keys, func(k string) bool { return strings.HasPrefix(k, "s ") || strings.HasPrefix(k, "r ") })
		}
		return wrap(strings.Join(keys, "  "), "  ", m.width, len(keys))
	}
	return []string{m.clip("q end  ? keys")}
}

// wrap breaks a text at separators into lines of a width. What does not fit into so many
// lines is cut off.
func wrap(text, separator string, width, most int) (lines []string) {
	if text == "" {
		return nil
	}
	for word := range strings.SplitSeq(text, separator) {
		if n := len(lines); n > 0 {
			if longer := lines[n-1] + separator + word; len([]rune(longer)) <= width || n == most {
				lines[n-1] = longer
				continue
			}
		}
		lines = append(lines, word)
	}
	for i := range lines {
		r := []rune(lines[i])
		lines[i] = string(r[:min(len(r), width)])
	}
	return lines
}

// shown are the numbers of the columns in the order in which they are shown, of those
// that are not scrolled past. The column that sorts comes after the first, or before it,
// where it would be cut off otherwise.
func (m *screen[T]) shown() []int {
	var out []int
	for i := m.left; i < len(m.columns); i++ {
		out = append(out, i)
	}
	at := m.column - m.left
	end := 0
	for i := 0; i <= at; i++ {
		end += m.widths[m.left+i] + gap
	}
	if at <= 0 || end-gap <= m.width {
		return out
	}
	out = slices.Delete(out, at, at+1)
	if m.widths[m.left]+gap+m.widths[m.column] > m.width {
		return slices.Insert(out, 0, m.column)
	}
	return slices.Insert(out, 1, m.column)
}

const (
	// indent is how far lines are scrolled at once.
	indent = 8
	// gap is how far columns are from each other.
	gap = 2
)

// align widens the columns to what they have been, and clips what has no room.
func (m *screen[T]) align(rows []*row[T]) []string {
	var head []string
	for _, c := range m.columns {
		head = append(head, c.Name)
	}
	table := [][]string{head}
	for i := range rows {
		table = append(table, report.Cells(m.columns, &rows[i].of))
	}
	if m.widths == nil {
		m.widths = make([]int, len(m.columns))
	}
	for _, cells := range table {
		for i, c := range cells {
			m.widths[i] = max(m.widths[i], len([]rune(c)))
		}
	}
	order := []int{0}
	if m.text() {
		m.left = min(m.left, max(0, m.widths[0]-m.width+indent-1)/indent)
		for _, line := range table[1:] {
			r := []rune(line[0])
			line[0] = string(r[min(len(r), m.left*indent):])
		}
	} else {
		m.left = min(m.left, len(m.columns)-1)
		order = m.shown()
	}
	out := make([]string, len(table))
	for at, cells := range table {
		room := m.width
		for _, i := range order {
			pad := m.widths[i] - len([]rune(cells[i])) + gap
			text := []rune(cells[i] + strings.Repeat(" ", max(0, pad)))
			text = text[:min(room, len(text))]
			room -= len(text)
			if at == 0 {
				out[at] += m.heading(i, string(text))
			} else {
				out[at] += string(text)
			}
		}
		out[at] = strings.TrimRight(out[at], " ")
	}
	return out
}

const (
	bold     = "1"
	reversed = "1;7"
	red      = "31"
)

// heading returns a column's heading in bold; the heading of the sort column is also reversed.
func (m *screen[T]) heading(column int, text string) string {
	word := strings.TrimRight(text, " ")
	code := bold
	if column == m.column && !m.text() {
		code = reversed
	}
	return m.paint(code, word) + text[len(word):]
}

func (m *screen[T]) paint(code, text string) string {
	if !m.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// clip keeps a line within the terminal.
func (m *screen[T]) clip(line string) string {
	r := []rune(line)
	return string(slices.Clip(r[:min(len(r), m.width)]))
}
