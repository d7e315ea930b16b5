package main

import (
	"strings"
	"unicode"

	tea "charm.land/bubbletea/v2"
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
	host          string // the node's name
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

// seen is how many rows there is room for.
func (m *screen[T]) seen() int { return max(0, m.height-len(m.head())-1-len(m.foot())) }

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
	m.left = min(m.left, m.column)
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
