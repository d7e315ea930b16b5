package screen

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/exitcode"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// The greatest number of lines of the title, and of a warning or note.
const (
	maxTitle    = 2
	maxWarnings = 3
)

func (m *model[T]) View() tea.View {
	lines := append(m.head(), m.table(m.reading.rows[m.top:min(len(m.reading.rows), m.top+m.visibleRows())])...)
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

// head returns the lines above the rows: the title, the warning and the note.
func (m *model[T]) head() []string {
	out := wrap(m.title(), " ", m.width, maxTitle)
	for _, line := range wrap(m.warning(), " ", m.width, maxWarnings) {
		out = append(out, m.style.Paint(report.Red, line))
	}
	return append(out, wrap(report.CleanText(m.reading.Note), " ", m.width, maxWarnings)...)
}

// title returns the name of the node, the number of rows, which are shown, their order,
// and the time of the reading.
func (m *model[T]) title() string {
	name := m.Name
	if m.reading.seen == 1 {
		name = strings.TrimSuffix(name, "s")
	}
	s := fmt.Sprintf("%d %s", m.reading.seen, name)
	if m.host != "" {
		s = m.host + ": " + s
	}
	if m.filter != "" {
		s += fmt.Sprintf(", %d with %q", m.reading.matched, m.filter)
	}
	if n := len(m.reading.rows); n < m.reading.matched {
		s += fmt.Sprintf(", the first %d", n)
	}
	if !m.isText() {
		s += ", by " + m.Columns[m.column].Name
	}
	if m.reverse {
		s += " reversed"
	}
	s += ", at " + m.reading.at.Format("15:04:05")
	if m.paused {
		s += ", paused"
	}
	return s
}

// warning returns the error or the fault of the reading, or "".
func (m *model[T]) warning() string {
	switch {
	case m.reading.err != nil:
		return report.CleanText(m.reading.err.Error())
	case m.reading.Fault != nil && !errors.Is(m.reading.Fault, exitcode.ErrFailed): // the rows tell that one
		return report.CleanText(m.reading.Fault.Error())
	}
	return ""
}

// foot returns the lines below the rows: the filter that is typed, or the keys.
func (m *model[T]) foot() []string {
	switch {
	case m.typing:
		return []string{cut("filter: "+m.filter+"_", m.width)}
	case m.help:
		keys := []string{"q end", "arrows, j k, PgUp PgDn scroll", "s < > 1-9 sort", "r reverse", "/ filter", "esc clear", "p pause", "? close"}
		if m.isText() {
			keys = slices.DeleteFunc(keys, func(k string) bool { return strings.HasPrefix(k, "s ") || strings.HasPrefix(k, "r ") })
		}
		return wrap(strings.Join(keys, "  "), "  ", m.width, len(keys))
	}
	return []string{cut("q end  ? keys", m.width)}
}
