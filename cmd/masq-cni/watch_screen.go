package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	tea "charm.land/bubbletea/v2"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// wish is what a key has changed of the looks to come.
type wish struct {
	order
	paused bool
}

// screen is what a person sees of a source, and what the keys do to it. All that it
// does is done by bubbletea's one goroutine.
type screen[T any] struct {
	source[T]
	wish
	got           got[T]
	wishes        chan wish
	colour        bool
	width, height int   // of the terminal, in cells
	top, left     int   // the first row and the first column that are seen
	widths        []int // of columns, so that they do not jump at each look
	typing, help  bool
}

func newScreen[T any](s source[T], colour bool, first got[T], wishes chan wish) *screen[T] {
	return &screen[T]{source: s, wish: wish{order: order{column: s.first}}, got: first, wishes: wishes, colour: colour}
}

func (m *screen[T]) Init() tea.Cmd { return nil }

func (m *screen[T]) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case got[T]:
		m.take(msg)
	case tea.WindowSizeMsg:
		m.width, m.height, m.widths = msg.Width, msg.Height, nil
	case tea.PasteMsg:
		m.write(msg.Content)
	case tea.KeyPressMsg:
		if m.key(msg) {
			return m, tea.Quit
		}
	}
	m.top = max(0, min(m.top, len(m.got.rows)-m.seen()))
	return m, nil
}

// take shows what a look has found. Keys may have changed the order meanwhile.
func (m *screen[T]) take(g got[T]) {
	switch {
	case m.paused:
	case g.err != nil:
		m.got.err = g.err // beside what was seen before
	case g.by != m.order:
		m.got = g.again(m.source, m.order)
	default:
		m.got = g
	}
}

// seen is how many rows there is room for, below two lines and above one.
func (m *screen[T]) seen() int { return max(0, m.height-3) }

// key reports whether a key ends the command.
func (m *screen[T]) key(k tea.KeyPressMsg) bool {
	name := k.String()
	if name == "ctrl+c" {
		return true
	}
	if m.typing {
		m.edit(name, k.Text)
		return false
	}
	switch name {
	case "q":
		return true
	case "esc":
		if !m.help && m.filter == "" {
			return true
		}
		m.help = false
		m.search("")
	case "up", "k":
		m.top--
	case "down", "j":
		m.top++
	case "pgup":
		m.top -= m.seen()
	case "pgdown", "space":
		m.top += m.seen()
	case "home", "g":
		m.top = 0
	case "end", "G":
		m.top = len(m.got.rows)
	case "left", "h":
		m.left = max(0, m.left-1)
	case "right", "l":
		m.left++
	case "s", ">":
		m.sort(m.column+1, false)
	case "<":
		m.sort(m.column-1, false)
	case "r":
		m.sort(m.column, !m.reverse)
	case "/":
		m.typing = true
	case "p":
		m.paused = !m.paused
		m.tell()
	case "?":
		m.help = !m.help
	default:
		if len(name) == 1 && '1' <= name[0] && name[0] <= '9' {
			m.sort(min(int(name[0]-'1'), len(m.columns)-1), false)
		}
	}
	return false
}

// edit takes a key while the filter is typed.
func (m *screen[T]) edit(name, text string) {
	switch name {
	case "enter":
		m.typing = false
	case "esc":
		m.typing = false
		m.search("")
	case "backspace":
		if r := []rune(m.filter); len(r) > 0 {
			m.search(string(r[:len(r)-1]))
		}
	case "ctrl+u":
		m.search("")
	default:
		m.write(text)
	}
}

// longestFilter is more than a row has.
const longestFilter = 200

// write adds to the filter that is typed.
func (m *screen[T]) write(text string) {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
	if m.typing && text != "" && len(m.filter)+len(text) <= longestFilter {
		m.search(m.filter + text)
	}
}

func (m *screen[T]) search(filter string) {
	if m.filter != filter {
		m.filter, m.top = filter, 0
		m.tell()
	}
}

func (m *screen[T]) sort(column int, reverse bool) {
	if m.text() {
		return
	}
	m.column, m.reverse, m.top = (column+len(m.columns))%len(m.columns), reverse, 0
	m.tell()
}

// text reports whether there are lines, in an order of their own, and not a table.
func (m *screen[T]) text() bool { return len(m.columns) == 1 }

// tell has what is there shown in the new order at once, and looked for.
func (m *screen[T]) tell() {
	m.got = m.got.again(m.source, m.order)
	m.widths = nil
	select {
	case <-m.wishes: // an older one
	default:
	}
	m.wishes <- m.wish
}

func (m *screen[T]) View() tea.View {
	lines := append([]string{m.clip(m.title())}, m.align(m.got.rows[m.top:min(len(m.got.rows), m.top+m.seen())])...)
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines[:max(0, m.height-1)], m.foot())
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen = true
	return v
}

// title says how many rows there are, which are shown, and in which order.
func (m *screen[T]) title() string {
	name := m.name
	if m.got.seen == 1 {
		name = strings.TrimSuffix(name, "s")
	}
	s := fmt.Sprintf("%d %s", m.got.seen, name)
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
	if m.got.note != "" {
		s += "; " + m.got.note
	}
	return s
}

// foot is the last line: what is typed, what is wrong, or which keys there are.
func (m *screen[T]) foot() string {
	const red = "31"
	switch {
	case m.typing:
		return m.clip("filter: " + m.filter + "_")
	case m.help:
		sort := "s < > 1-9 sort  r reverse  "
		if m.text() {
			sort = ""
		}
		return m.clip("q end  arrows, j k, PgUp PgDn scroll  " + sort + "/ filter  esc clear  p pause  ? close")
	case m.got.err != nil:
		return m.paint(red, m.clip(report.Sentence(m.got.err.Error())))
	case m.got.fault != nil && !errors.Is(m.got.fault, errFailed): // that is said by the rows
		return m.paint(red, m.clip(report.Sentence(m.got.fault.Error())))
	}
	return m.clip("q end  ? keys")
}

// indent is how far lines are scrolled at once.
const indent = 8

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
	if m.text() {
		m.left = min(m.left, max(0, m.widths[0]-m.width+indent-1)/indent)
		for _, line := range table[1:] {
			r := []rune(line[0])
			line[0] = string(r[min(len(r), m.left*indent):])
		}
	} else {
		m.left = min(m.left, len(m.columns)-1)
	}
	out := make([]string, len(table))
	for at, cells := range table {
		room := m.width
		for i, c := range cells {
			if i < m.left && !m.text() {
				continue
			}
			pad := m.widths[i] - len([]rune(c)) + 2
			text := []rune(c + strings.Repeat(" ", pad))
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

// heading is bold, and that of the column that sorts is reversed.
func (m *screen[T]) heading(column int, text string) string {
	const bold, reversed = "1", "1;7"
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
