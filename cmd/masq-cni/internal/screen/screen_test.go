package screen

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// numberedScreen returns a screen of rows, and a function that presses keys and returns the
// screen.
func numberedScreen(t *testing.T, all []numbered) (m *model[numbered], press func(keys ...string) string) {
	t.Helper()
	s := numberedSource(all, 1000)
	m = newModel(s, report.Style{}, read(t.Context(), s, order{}), make(chan settings, 1))
	m.Update(tea.WindowSizeMsg{Width: 60, Height: 8})
	special := map[string]rune{"esc": tea.KeyEscape, "enter": tea.KeyEnter, "backspace": tea.KeyBackspace, "pgdown": tea.KeyPgDown, "end": tea.KeyEnd}
	return m, func(keys ...string) string {
		for _, k := range keys {
			p := tea.KeyPressMsg{Text: k, Code: []rune(k)[0]}
			if r := special[k]; r != 0 {
				p = tea.KeyPressMsg{Code: r}
			}
			m.Update(p)
		}
		return m.View().Content
	}
}

func TestKeys(t *testing.T) {
	var all []numbered
	for i := range 20 {
		all = append(all, numbered{i, fmt.Sprintf("w%d", 100-i)})
	}
	all = append(all, numbered{20, "evil\x1b[2J\u202e" + strings.Repeat("x", 100)})
	m, press := numberedScreen(t, all)
	for _, tt := range []struct {
		keys          []string
		shown, absent string
	}{
		{nil, "21 rows, by NUMBER", "\x1b"},
		{nil, `evil\x1b[2J\u202exxx`, "\u202e"},
		{[]string{"r"}, "\n4  ", "\n5  "},
		{[]string{"pgdown"}, "\n5  ", "\n4  "},
		{[]string{"end"}, "\n20  ", "\n15  "},
		{[]string{"j", "k"}, "\n15  ", "\n20  "},
		{[]string{"s"}, "by WORD,", "reversed"},
		{[]string{"1"}, "by NUMBER,", ""},
		{[]string{"<"}, "by WORD,", ""},
		{[]string{">"}, "by NUMBER,", ""},
		{[]string{"9"}, "by WORD,", ""},
		{[]string{"/", "W", "9", "9"}, `21 rows, 1 with "W99"`, "w98"},
		{[]string{"backspace"}, `21 rows, 1 with "W9"`, "w98"}, // until the next reading
		{[]string{"enter", "?"}, "q end  arrows", "filter: "},
		{[]string{"esc"}, "21 rows, by WORD", "arrows"},
		{[]string{"p"}, ", paused", ""},
	} {
		text := press(tt.keys...)
		if !strings.Contains(text, tt.shown) || tt.absent != "" && strings.Contains(text, tt.absent) {
			t.Errorf("after the keys %q, %q is missing or %q is shown:\n%s", tt.keys, tt.shown, tt.absent, text)
		}
		fitsTerminal(t, m, text)
	}
}

// TestText checks that text can be scrolled and filtered, but not sorted.
func TestText(t *testing.T) {
	var all []string
	for i := range 20 {
		all = append(all, fmt.Sprintf("line %d %s end", i, strings.Repeat("x", 3*i)), "")
	}
	s := Source[string]{
		Name: "lines", Columns: []report.Column[string]{{Name: "NODE", Cell: func(l *string) string { return *l + " " }}},
		Read: func(_ context.Context, add func(string)) (Remarks, error) {
			for _, l := range all {
				add(l)
			}
			return Remarks{Note: "a note"}, nil
		},
	}
	m := newModel(s, report.Style{Color: true}, read(t.Context(), s, order{}), make(chan settings, 1))
	m.Update(tea.WindowSizeMsg{Width: 50, Height: 9})
	for _, tt := range []struct {
		keys          string
		shown, absent string
	}{
		{"", "40 lines, at ", "by "},
		{"", "\na note\n\x1b[1mNODE\x1b[0m\nline 0  end\n\nline 1 xxx end\n\nline 2", ";7m"},
		{"rs2", "\nline 0  end\n\nline 1", "reversed"},
		{"?", "scroll  / filter", "sort"},
		{"?G", "\nline 19 xxx", " end\n"},
		{"llllllll", "xxx end\n", "line 19"},
		{"hhhh", "\nline 19 xxx", " end\n"},
		{"/LINE 1 X", `40 lines, 1 with "LINE 1 X"`, "line 2"},
	} {
		for _, k := range tt.keys {
			m.Update(tea.KeyPressMsg{Text: string(k), Code: k})
			m.View()
		}
		if text := m.View().Content; !strings.Contains(text, tt.shown) || tt.absent != "" && strings.Contains(text, tt.absent) {
			t.Errorf("after the keys %q, %q is missing or %q is shown:\n%q", tt.keys, tt.shown, tt.absent, text)
		}
	}
}

// fitsTerminal checks the size of a screen.
func fitsTerminal(t *testing.T, m *model[numbered], text string) {
	t.Helper()
	lines := strings.Split(text, "\n")
	if len(lines) != m.height {
		t.Errorf("%d lines, want %d:\n%s", len(lines), m.height, text)
	}
	for _, l := range lines {
		if cells(l) > m.width {
			t.Errorf("%q is wider than %d cells", l, m.width)
		}
	}
}

func TestTerminalSizes(t *testing.T) {
	m, press := numberedScreen(t, []numbered{{1, "a"}, {2, "b"}, {3, "c"}})
	for _, width := range []int{0, 1, 5, 21, 200} {
		for _, height := range []int{1, 2, 3, 4, 50} {
			m.Update(tea.WindowSizeMsg{Width: width, Height: height})
			fitsTerminal(t, m, press("j", "r"))
			if w := <-m.changes; w != m.settings {
				t.Errorf("a key requests %+v, want %+v", w, m.settings)
			}
		}
	}
}

// TestTakeReading checks that a reading is not shown while the screen is paused, that an
// error is shown with the rows before, and that a reading in an earlier order is reordered.
func TestTakeReading(t *testing.T) {
	m, press := numberedScreen(t, []numbered{{1, "a"}, {2, "b"}})
	later := read(t.Context(), numberedSource([]numbered{{7, "a"}, {8, "b"}, {9, "c"}}, 10), order{})
	press("p")
	m.Update(later)
	if text := press(); !strings.Contains(text, "2 rows") {
		t.Errorf("while paused:\n%s", text)
	}
	press("p", "r")
	m.Update(reading[numbered]{err: errors.New("no \x1b[2Jright")})
	if text := press(); !strings.Contains(text, "2 rows") || !strings.Contains(text, `no \x1b[2Jright`) {
		t.Errorf("after an error:\n%s", text)
	}
	m.Update(later)
	if text := press(); !strings.Contains(text, "3 rows") || strings.Contains(text, "right") || strings.Index(text, "\n7") > strings.Index(text, "\n9") {
		t.Errorf("after another reading:\n%s", text)
	}
}

// TestPanics checks that the terminal is restored after a panic of the source or the model.
func TestPanics(t *testing.T) {
	t.Setenv("TERM", "vt100")
	for _, drawing := range []bool{false, true} {
		user := newTerminal(t)
		before, err := unix.IoctlGetTermios(int(user.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		s := numberedSource([]numbered{{1, "a"}}, 10)
		first := s.Read
		var readings atomic.Int32
		var raw bool
		s.Read = func(ctx context.Context, add func(numbered)) (Remarks, error) {
			if readings.Add(1) > 2 && !drawing {
				during, err := unix.IoctlGetTermios(int(user.Fd()), unix.TCGETS)
				raw = err == nil && during.Lflag&unix.ECHO == 0
				panic("while reading")
			}
			return first(ctx, add)
		}
		if drawing {
			s.Columns[0].Cell = nil
		}
		var c cobra.Command
		c.SetContext(t.Context())
		c.SetIn(user)
		c.SetOut(user)
		var panicked any
		func() {
			defer func() { panicked = recover() }()
			err = Watch(&c, Flags{Watch: true, interval: minInterval}, output.Writer{}, s)
		}()
		want := []string{"while reading"}
		if drawing {
			want = []string{"nil pointer", ".table("}
		}
		for _, text := range want {
			if !strings.Contains(fmt.Sprint(panicked), text) {
				t.Errorf("panic %v, want %s; error %v", panicked, text, err)
			}
		}
		if raw == drawing {
			t.Errorf("raw mode before the panic: %t", raw)
		}
		after, err := unix.IoctlGetTermios(int(user.Fd()), unix.TCGETS)
		if err != nil || *after != *before {
			t.Errorf("the terminal is %+v, %v, want %+v", after, err, before)
		}
	}
}

// newTerminal returns the slave end of a pseudoterminal.
func newTerminal(t *testing.T) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = errors.Join(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0), unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 10, Col: 60}))
	}
	if err != nil {
		t.Fatal(err)
	}
	user, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = user.Close(), master.Close() })
	return user
}
