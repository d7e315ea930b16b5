package screen

import (
	"strings"
	"unicode"

	tea "charm.land/bubbletea/v2"
)

// maxFilter is the greatest length of a filter, in bytes.
const maxFilter = 200

// press handles a key, and reports whether it ends the command.
func (m *model[T]) press(k tea.KeyPressMsg) (end bool) {
	key := k.String()
	if key == "ctrl+c" {
		return true
	}
	if m.typing {
		m.edit(key, k.Text)
		return false
	}
	switch key {
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
		m.top -= m.visibleRows()
	case "pgdown", "space":
		m.top += m.visibleRows()
	case "home", "g":
		m.top = 0
	case "end", "G":
		m.top = len(m.reading.rows)
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
		m.apply()
	case "?":
		m.help = !m.help
	default:
		if len(key) == 1 && '1' <= key[0] && key[0] <= '9' {
			m.sort(min(int(key[0]-'1'), len(m.Columns)-1), false)
		}
	}
	return false
}

// edit handles a key while the filter is typed.
func (m *model[T]) edit(key, text string) {
	switch key {
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
		m.typeText(text)
	}
}

// typeText appends the printable characters of text to the filter while it is typed.
func (m *model[T]) typeText(text string) {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
	if m.typing && text != "" && len(m.filter)+len(text) <= maxFilter {
		m.search(m.filter + text)
	}
}

func (m *model[T]) search(filter string) {
	if m.filter != filter {
		m.filter, m.top = filter, 0
		m.apply()
	}
}

func (m *model[T]) sort(column int, reverse bool) {
	if m.isText() {
		return
	}
	m.column, m.reverse, m.top = (column+len(m.Columns))%len(m.Columns), reverse, 0
	m.left = min(m.left, m.column)
	m.apply()
}
