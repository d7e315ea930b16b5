package screen

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// smallSizes are the sizes of a classic terminal and of a phone.
var smallSizes = []tea.WindowSizeMsg{{Width: 80, Height: 24}, {Width: 40, Height: 10}}

// flowScreen returns a screen of flows with all columns.
func flowScreen(t *testing.T, notes Remarks) *model[report.Flow] {
	t.Helper()
	flows := manyFlows(100)
	s := Source[report.Flow]{
		Name: "flows", Columns: report.VisibleColumns(report.FlowColumns(), report.Style{Wide: true}), Tie: report.CompareFlows,
		Read: func(_ context.Context, add func(report.Flow)) (Remarks, error) {
			for i := range flows {
				f := report.FlowOf(&flows[i], nil, nil, time.Now())
				f.PodNamespace, f.PodName = "shop", "web-5d9c7b8f6d-x2x7k"
				add(f)
			}
			return notes, nil
		},
	}
	m := newModel(s, report.Style{}, read(t.Context(), s, order{}), make(chan settings, 1))
	m.host = "node-1"
	return m
}

func (m *model[T]) keys(keys ...string) []string {
	for _, k := range keys {
		m.Update(tea.KeyPressMsg{Text: k, Code: []rune(k)[0]})
	}
	return strings.Split(m.View().Content, "\n")
}

// TestSortColumnIsShown checks that a small terminal shows the sort column.
func TestSortColumnIsShown(t *testing.T) {
	for _, size := range smallSizes {
		m := flowScreen(t, Remarks{})
		m.Update(size)
		for range m.Columns {
			lines := m.keys("s")
			name := m.Columns[m.column].Name
			heading := lines[len(m.head())]
			at := strings.Index(" "+heading+" ", " "+name+" ")
			if at < 0 || at+min(m.widths[m.column], size.Width) > size.Width {
				t.Errorf("%dx%d: %s is not shown:\n%s", size.Width, size.Height, name, strings.Join(lines, "\n"))
			}
			fitsSize(t, lines, size)
		}
		// A column that was scrolled past is shown again when it becomes the sort column,
		// and can be scrolled past again.
		lines := m.keys("l", "l", "l", "2")
		if heading := lines[len(m.head())]; !strings.HasPrefix(heading, "PROTO ") {
			t.Errorf("%dx%d: %q", size.Width, size.Height, heading)
		}
		lines = m.keys("l", "l")
		if heading := lines[len(m.head())]; strings.Contains(heading, "PROTO ") {
			t.Errorf("%dx%d: the sort column cannot be scrolled past: %q", size.Width, size.Height, heading)
		}
	}
}

func fitsSize(t *testing.T, lines []string, size tea.WindowSizeMsg) {
	t.Helper()
	if len(lines) != size.Height {
		t.Errorf("%d lines, want %d:\n%s", len(lines), size.Height, strings.Join(lines, "\n"))
	}
	for _, l := range lines {
		if cells(l) > size.Width {
			t.Errorf("%q is wider than %d cells", l, size.Width)
		}
	}
}

// TestWarningsAreShown checks that a small terminal shows the name of the node, complete
// warnings and all keys, and has space for rows.
func TestWarningsAreShown(t *testing.T) {
	const fault = "3 records of attachments cannot be read: permission denied; run as root on the node"
	for _, size := range smallSizes {
		m := flowScreen(t, Remarks{Note: "2 connections are not shown", Fault: errors.New(fault)})
		m.Update(size)
		lines := m.keys()
		fitsSize(t, lines, size)
		top := strings.Join(lines[:len(m.head())], " ")
		for _, want := range []string{"node-1: 100 flows, by POD, at ", fault, "2 connections are not shown"} {
			if !strings.Contains(top, want) {
				t.Errorf("%dx%d: no %q on top:\n%s", size.Width, size.Height, want, strings.Join(lines, "\n"))
			}
		}
		if m.visibleRows() < 2 {
			t.Errorf("%dx%d: space for only %d rows:\n%s", size.Width, size.Height, m.visibleRows(), strings.Join(lines, "\n"))
		}
		m = flowScreen(t, Remarks{})
		m.Update(size)
		lines = m.keys("?")
		fitsSize(t, lines, size)
		help := strings.Join(lines[size.Height-len(m.foot()):], "  ")
		for _, want := range []string{"q end", "arrows, j k, PgUp PgDn scroll", "s < > 1-9 sort", "r reverse", "/ filter", "esc clear", "p pause", "? close"} {
			if !strings.Contains(help, want) {
				t.Errorf("%dx%d: no %q:\n%s", size.Width, size.Height, want, strings.Join(lines, "\n"))
			}
		}
		if m.visibleRows() < 2 {
			t.Errorf("%dx%d: space for only %d rows:\n%s", size.Width, size.Height, m.visibleRows(), strings.Join(lines, "\n"))
		}
	}
	// An interrupted dump is reported until the next reading.
	m := flowScreen(t, Remarks{Fault: conntrack.ErrInterrupted})
	m.Update(smallSizes[0])
	if top := strings.Join(m.head(), " "); !strings.Contains(top, conntrack.ErrInterrupted.Error()) {
		t.Errorf("%q", top)
	}
	m.Update(flowScreen(t, Remarks{}).reading)
	if top := m.head(); len(top) != 1 {
		t.Errorf("%q", top)
	}
}

// TestWideCharacters checks that columns are aligned after names whose characters fill two
// cells or none, and that no line is wider than the terminal.
func TestWideCharacters(t *testing.T) {
	var all []numbered
	for i, word := range []string{"web", "商店/網頁", "한국어", "cafe\u0301", "カフェ"} {
		all = append(all, numbered{i, word})
	}
	s := numberedSource(all, 10)
	s.Columns = append(slices.Clone(s.Columns), report.Column[numbered]{Name: "NEXT", Cell: func(*numbered) string { return "|" }})
	m := newModel(s, report.Style{}, read(t.Context(), s, order{}), make(chan settings, 1))
	m.Update(tea.WindowSizeMsg{Width: 60, Height: 10})
	const want = len("NUMBER") + columnGap + 9 + columnGap // 商店/網頁 fills 9 cells
	rows := 0
	for _, line := range m.keys() {
		before, _, ok := strings.Cut(line, "|")
		if !ok {
			continue
		}
		if rows++; cells(before) != want {
			t.Errorf("the last column begins at cell %d, want %d: %q", cells(before), want, line)
		}
	}
	if rows != len(all) {
		t.Errorf("%d rows, want %d", rows, len(all))
	}
	for width := range 30 {
		size := tea.WindowSizeMsg{Width: width, Height: 10}
		m.Update(size)
		fitsSize(t, m.keys("l"), size)
		fitsSize(t, m.keys("h"), size)
	}
}
