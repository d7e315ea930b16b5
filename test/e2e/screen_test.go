package e2e

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// screen is a pseudo terminal and what it displays.
type screen struct {
	t          *testing.T
	master     *os.File
	user       *os.File // programs' end
	mu         sync.Mutex
	cells      [][]rune
	row, col   int
	first      int // first and last line that scroll
	last       int
	insert     bool
	full       bool // whether the alternate screen is shown
	hidden     bool // whether the cursor is hidden
	unknown    []string
	all        strings.Builder
	unfinished string
}

// newScreen opens a pseudo terminal of this size in cells.
func newScreen(t *testing.T, width, height int) *screen {
	t.Helper()
	master, user := openTerminal(t)
	x := &screen{t: t, master: master, user: user}
	x.resize(width, height)
	read := make(chan struct{})
	go func() {
		defer close(read)
		b := make([]byte, 64<<10)
		for {
			n, err := master.Read(b)
			x.see(string(b[:n]))
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = user.Close()
		_ = master.Close()
		<-read
		for _, s := range x.unknown {
			t.Errorf("the terminal received %q", s)
		}
		if t.Failed() {
			t.Logf("%dx%d, cursor at %d,%d:\n%s", width, height, x.col, x.row, x.text())
		}
	})
	return x
}

// run starts a program on the terminal, as a shell would.
func (x *screen) run(c *nstest.Command, env ...string) {
	x.t.Helper()
	c.Stdin, c.Stdout = x.user, x.user
	c.Env = append(os.Environ(), append([]string{"TERM=vt100", "NO_COLOR="}, env...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	assert.NoError(x.t, c.Start())
}

// resize changes the size of the terminal and notifies its programs.
func (x *screen) resize(width, height int) {
	x.t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cells = make([][]rune, height)
	for i := range x.cells {
		x.cells[i] = []rune(strings.Repeat(" ", width))
	}
	x.first, x.last, x.row, x.col = 0, height-1, 0, 0
	setSize(x.t, x.master, width, height)
}

// press sends keys.
func (x *screen) press(keys string) {
	x.t.Helper()
	_, err := x.master.WriteString(keys)
	assert.NoError(x.t, err)
}

// text returns the displayed text without spaces at the ends of lines.
func (x *screen) text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var lines []string
	for _, l := range x.cells {
		lines = append(lines, strings.TrimRight(string(l), " "))
	}
	return strings.Join(lines, "\n")
}

// modes returns the terminal's modes, such as echo and canonical mode.
func (x *screen) modes() unix.Termios {
	x.t.Helper()
	m, err := unix.IoctlGetTermios(int(x.user.Fd()), unix.TCGETS)
	assert.NoError(x.t, err)
	return *m
}

// left reports whether a program has restored the terminal's modes.
func (x *screen) left(before unix.Termios) bool {
	x.mu.Lock()
	full, hidden := x.full, x.hidden
	x.mu.Unlock()
	return !full && !hidden && x.modes() == before
}

// blank is an empty line.
func (x *screen) blank() []rune { return []rune(strings.Repeat(" ", len(x.cells[0]))) }

// see interprets what a program writes. An unknown sequence fails the test.
func (x *screen) see(s string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all.WriteString(s)
	s = x.unfinished + s
	for s != "" {
		n := x.one(s)
		if n == 0 {
			break
		}
		s = s[n:]
	}
	x.unfinished = s
}

// one interprets one letter or sequence and returns its length, or 0 if it is incomplete.
func (x *screen) one(s string) int {
	switch s[0] {
	case '\r':
		x.col = 0
		return 1
	case '\n':
		if x.row == x.last {
			x.cells = slices.Insert(slices.Delete(x.cells, x.first, x.first+1), x.last, x.blank())
			return 1
		}
		x.row = min(x.row+1, len(x.cells)-1)
		return 1
	case '\b':
		x.col = max(0, x.col-1)
		return 1
	case '\t':
		x.col = min(x.col/8*8+8, len(x.cells[0])-1)
		return 1
	case 0x1b:
		return x.escape(s)
	}
	if !utf8.FullRuneInString(s) {
		return 0
	}
	r, size := utf8.DecodeRuneInString(s)
	if r < ' ' {
		x.unknown = append(x.unknown, s[:size])
		return size
	}
	if x.row < len(x.cells) && x.col < len(x.cells[x.row]) {
		line := x.cells[x.row]
		if x.insert {
			copy(line[x.col+1:], line[x.col:])
		}
		line[x.col] = r
	}
	x.col++
	return size
}

func (x *screen) escape(s string) int {
	if len(s) < 2 {
		return 0
	}
	if s[1] == 'M' {
		if x.row == x.first {
			x.cells = slices.Insert(slices.Delete(x.cells, x.last, x.last+1), x.first, x.blank())
			return 2
		}
		x.row = max(0, x.row-1)
		return 2
	}
	if s[1] != '[' {
		x.unknown = append(x.unknown, s[:2])
		return 2
	}
	end := strings.IndexFunc(s[2:], func(r rune) bool { return '@' <= r && r <= '~' })
	if end < 0 {
		return 0
	}
	args, final := s[2:2+end], s[2+end]
	first, second, _ := strings.Cut(args, ";")
	n, _ := strconv.Atoi(first)
	m, _ := strconv.Atoi(second)
	blank := func(row, from, to int) {
		for i := from; i < min(to, len(x.cells[row])); i++ {
			x.cells[row][i] = ' '
		}
	}
	switch {
	case args == "?1049" && (final == 'h' || final == 'l'):
		x.full = final == 'h'
		for i := range x.cells {
			blank(i, 0, len(x.cells[i]))
		}
	case args == "?25" && (final == 'h' || final == 'l'):
		x.hidden = final == 'l'
	case strings.HasPrefix(args, "?") || strings.HasPrefix(args, ">") || strings.HasPrefix(args, "<") || strings.HasPrefix(args, "="):
		// Modes and queries without a visible effect.
	case final == 'm':
	case args == "4" && (final == 'h' || final == 'l'):
		x.insert = final == 'h'
	case final == 'r':
		x.first, x.last = max(1, n)-1, len(x.cells)-1
		if m > 0 {
			x.last = m - 1
		}
		x.row, x.col = 0, 0
	case final == 'H':
		x.row, x.col = max(1, n)-1, max(1, m)-1
	case final == 'A':
		x.row -= max(1, n)
	case final == 'B':
		x.row += max(1, n)
	case final == 'C':
		x.col += max(1, n)
	case final == 'D':
		x.col -= max(1, n)
	case final == 'K' && n == 0:
		blank(x.row, x.col, len(x.cells[x.row]))
	case final == 'K' && n == 1:
		blank(x.row, 0, x.col+1)
	case final == 'K' && n == 2:
		blank(x.row, 0, len(x.cells[x.row]))
	case final == 'J' && n == 0:
		blank(x.row, x.col, len(x.cells[x.row]))
		for i := x.row + 1; i < len(x.cells); i++ {
			blank(i, 0, len(x.cells[i]))
		}
	case final == 'J' && n == 2:
		for i := range x.cells {
			blank(i, 0, len(x.cells[i]))
		}
	case (final == 'L' || final == 'M') && x.first <= x.row && x.row <= x.last:
		// The lines from the cursor on move down or up, within the lines that scroll.
		for range min(max(1, n), x.last-x.row+1) {
			if final == 'L' {
				x.cells = slices.Insert(slices.Delete(x.cells, x.last, x.last+1), x.row, x.blank())
			} else {
				x.cells = slices.Insert(slices.Delete(x.cells, x.row, x.row+1), x.last, x.blank())
			}
		}
		x.col = 0
	case final == 'P':
		line := x.cells[x.row]
		x.cells[x.row] = append(slices.Delete(line, x.col, min(x.col+max(1, n), len(line))), x.blank()...)[:len(line)]
	default:
		x.unknown = append(x.unknown, s[:3+end])
	}
	x.row, x.col = max(0, min(x.row, len(x.cells)-1)), max(0, x.col)
	return 3 + end
}
