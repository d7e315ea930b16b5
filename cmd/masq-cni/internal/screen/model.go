package screen

import (
	tea "charm.land/bubbletea/v2"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// settings are what keys change in the readings.
type settings struct {
	order
	paused bool
}

// model is the state of a screen. Only bubbletea's goroutine uses it.
type model[T any] struct {
	Source[T]
	settings
	reading       reading[T]
	changes       chan settings
	style         report.Style
	width, height int   // size of the terminal, in cells
	top, left     int   // the first row and the first column that are shown
	widths        []int // of columns; they only grow, so that columns do not jump
	typing, help  bool
	host          string // name of the node
}

func newModel[T any](s Source[T], style report.Style, first reading[T], changes chan settings) *model[T] {
	return &model[T]{Source: s, settings: settings{order: order{column: s.First}}, reading: first, changes: changes, style: style}
}

func (m *model[T]) Init() tea.Cmd { return nil }

func (m *model[T]) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case reading[T]:
		m.take(msg)
	case tea.WindowSizeMsg:
		m.width, m.height, m.widths = msg.Width, msg.Height, nil
	case tea.PasteMsg:
		m.typeText(msg.Content)
	case tea.KeyPressMsg:
		if m.press(msg) {
			return m, tea.Quit
		}
	}
	m.top = max(0, min(m.top, len(m.reading.rows)-m.visibleRows()))
	return m, nil
}

// take shows a reading. Keys may have changed the order since it began.
func (m *model[T]) take(r reading[T]) {
	switch {
	case m.paused:
	case r.err != nil:
		m.reading.err = r.err // and keep the rows of the reading before
	case r.by != m.order:
		m.reading = r.reorder(m.Source, m.order)
	default:
		m.reading = r
	}
}

// visibleRows returns how many rows fit on the screen.
func (m *model[T]) visibleRows() int { return max(0, m.height-len(m.head())-1-len(m.foot())) }

// isText reports whether the rows are lines of text, which have no other order.
func (m *model[T]) isText() bool { return len(m.Columns) == 1 }

// apply shows the rows in the changed order at once, and requests a reading in it.
func (m *model[T]) apply() {
	m.reading = m.reading.reorder(m.Source, m.order)
	m.widths = nil
	select {
	case <-m.changes: // an earlier change that no reading has taken
	default:
	}
	m.changes <- m.settings
}
