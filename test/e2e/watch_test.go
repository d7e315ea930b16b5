package e2e

import (
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// sees waits until all words are displayed, and words after a "!" are not.
func (x *screen) sees(what string, words ...string) {
	x.t.Helper()
	until(x.t, what, func() bool {
		text := x.text()
		for _, s := range words {
			without, absent := strings.CutPrefix(s, "!")
			if strings.Contains(text, without) == absent {
				return false
			}
		}
		return true
	})
}

// TestWatchFlows: flows are displayed as they begin, and keys select among them.
func TestWatchFlows(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	a, b := w.attachNamed("shop", "web", w.masq()), w.attachNamed("shop", "mail", w.masq())
	server := assert.Must(w.Server.ServeUDP(at(w.V4.Server, 7)))(t)
	talk := func(p *pod, port uint16) {
		t.Helper()
		assert.NoError(t, p.EchoUDP(soon(t), at(p.addr(w.V4.Server), port), server.Addr(), 1))
	}
	talk(a, 10001)
	talk(b, 10002)
	x := newScreen(t, 120, 12)
	c := w.command(w.Node, "inspect", "flows", "--watch", "--interval", "100ms", "--proto", "udp")
	before := x.modes()
	x.run(c)
	x.sees("flows are shown", "2 flows, by BYTES", "SOURCE", ":10001", ":10002", "? keys")

	talk(a, 10003)
	x.sees("a flow is shown that began meanwhile", "3 flows", ":10003")

	x.press("/SHOP/m")
	x.sees("only flows that match the filter are shown", `3 flows, 1 with "SHOP/m"`, ":10002", "!:10001", "!:10003", "filter: SHOP/m_")
	x.press("\r3")
	x.sees("the filter stays while another column sorts", "by SOURCE", ":10002", "!:10001", "? keys")
	x.press("\x1b")
	x.sees("without the filter all are there", "3 flows, by SOURCE", ":10001", ":10002", ":10003")

	in := func(ports ...string) bool {
		at := -1
		for _, p := range ports {
			i := strings.Index(x.text(), p)
			if i <= at {
				return false
			}
			at = i
		}
		return true
	}
	// DESTINATION is the same for all flows, so they are sorted by source.
	x.press("4/web\r")
	x.sees("one pod is shown", "by DESTINATION", "!:10002")
	until(t, "ports are in ascending order", func() bool { return in(":10001", ":10003") })
	x.press("3r")
	x.sees("the order is reversed", "by SOURCE reversed")
	until(t, "ports are in descending order", func() bool { return in(":10003", ":10001") })

	x.press("p")
	x.sees("it is paused", "paused")
	talk(a, 10004)
	for _, k := range []string{"r", "r", "?"} {
		x.press(k)
	}
	x.sees("keys work while it is paused", "PgUp", ":10003", "!:10004")
	x.press("p?")
	x.sees("it goes on", ":10004", "!paused")

	// Long lines are cut, and rows beyond the screen are reached by scrolling.
	x.resize(40, 5)
	x.sees("the rows that fit are shown", "4 flows", "shop/web", "!BYTES ")
	x.press("\x1b")
	x.sees("all are counted", "4 flows, by SOURCE")
	first := x.text()
	x.press("jj")
	until(t, "the rows have moved", func() bool { return x.text() != first })
	for range 7 {
		x.press("l")
	}
	x.sees("the last columns are shown", "BYTES", "!SOURCE  ")
	x.resize(120, 12)
	x.press("hhhhhhhh")
	x.sees("there is room again", "SOURCE", "BYTES", ":10001", ":10004")

	x.press("q")
	assert.NoError(t, c.Wait())
	until(t, "the terminal is restored", func() bool { return x.left(before) })
	if strings.Contains(x.all.String(), "\x1b[31m") || !strings.Contains(x.all.String(), "\x1b[1m") {
		t.Error("the output has no colors, or an error")
	}
}

// TestWatchPods: the flows that a pod has begun are counted while the table is displayed, for
// a node in another namespace.
func TestWatchPods(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	a := w.attachNamed("shop", "a", w.masq())
	w.attachNamed("shop", "b", w.masq())
	server := assert.Must(w.Server.ServeUDP(at(w.V4.Server, 7)))(t)
	x := newScreen(t, 140, 10)
	c := w.command(w.Server, "--netns", w.Node.Path(), "inspect", "pods", "--watch", "--interval", "100ms")
	before := x.modes()
	x.run(c, "NO_COLOR=1")
	x.sees("pods are shown", "2 attachments, by FLOWS", "shop/a", "shop/b", "TRANSLATED")
	for i := range uint16(3) {
		assert.NoError(t, a.EchoUDP(soon(t), at(a.addr(w.V4.Server), 10001+i), server.Addr(), 1))
	}
	until(t, "the flows are counted", func() bool {
		for line := range strings.Lines(x.text()) {
			if f := strings.Fields(line); len(f) > 5 && f[0] == "shop/a" {
				return f[4] == "3"
			}
		}
		return false
	})
	w.attachNamed("shop", "c", w.masq())
	x.sees("a pod is shown that came meanwhile", "3 attachments", "shop/a", "shop/b", "shop/c")
	x.press("\x03")
	assert.NoError(t, c.Wait())
	until(t, "the terminal is restored", func() bool { return x.left(before) })
	if strings.Contains(x.all.String(), "\x1b[1m") || strings.Contains(x.all.String(), "\x1b[7m") {
		t.Error("the output has colors in spite of NO_COLOR")
	}
}

// TestWatchEverything: the other views of inspect are refreshed too.
func TestWatchEverything(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attachNamed("shop", "web", w.masq().With(keys{"toPorts": "20000-20009", "helpers": keys{"ftp": []uint16{21}}}))
	s := w.vsftpd(21)
	server := assert.Must(w.Server.ServeUDP(at(w.V4.Server, 7)))(t)
	port := uint16(10000)
	talk := func() {
		t.Helper()
		port++
		assert.NoError(t, p.EchoUDP(soon(t), at(p.addr(w.V4.Server), port), server.Addr(), 1))
	}
	talk()
	for _, tt := range []struct {
		words  string
		first  []string
		change func()
		then   []string
		keys   string
		last   []string
		code   int
	}{
		{
			"",
			[]string{"lines, at ", "NODE", "table ", "flows ", "1 (1 translated", "!by "},
			talk,
			[]string{"2 (2 translated"},
			"/EGRESS",
			[]string{`1 with "EGRESS"`, "egress  ", w.V4.Node.String(), "!conntrack", "!masqd"},
			0,
		},
		{
			"pod shop/web",
			[]string{"lines, at ", "POD", "shop/web", "flows ", "2 open (2 translated"},
			talk,
			[]string{"3 open (3 translated"},
			"G/drift\r",
			[]string{`1 with "drift"`, "drift", "none", "!policy"},
			0,
		},
		{
			"ports",
			[]string{"1 group, by SHARE", "SHARE", "30.0%"},
			talk,
			[]string{"40.0%", "shop/web 4"},
			"1",
			[]string{"by PROTO", "udp"},
			0,
		},
		{
			"helpers",
			[]string{"0 connections, by POD", "CONTROL"},
			func() {
				assert.Must(p.login(t, at(w.V4.Server, s.port)).announce())(t)
			},
			[]string{"2 connections", "established", "expected", " > "},
			"/EXPECTED\r",
			[]string{"1 with", "expected", "!established"},
			0,
		},
		{
			"rules",
			[]string{"rules, by CHAIN", "WHY"},
			func() { w.nft("add rule inet masq forward counter comment \"theirs\"") },
			[]string{"theirs", "unexpected"},
			"/theirs\r4r",
			[]string{"by PACKETS reversed", "1 with", "theirs", "!policy/egress"},
			0,
		},
		{
			"drift",
			[]string{"1 difference, by KIND", "theirs", "? keys"},
			func() { w.nft("flush chain inet masq invalid") },
			[]string{"3 differences", "invalid/drop4", "missing"},
			"/drop6\r",
			[]string{`3 differences, 1 with "drop6"`, "!theirs"},
			1,
		},
	} {
		t.Run(tt.words, func(t *testing.T) {
			w := w.in(t)
			x := newScreen(t, 220, 90)
			c := w.command(w.Node, append([]string{"inspect", "--watch", "--interval", "100ms"}, strings.Fields(tt.words)...)...)
			before := x.modes()
			x.run(c)
			x.sees("what is there", tt.first...)
			tt.change()
			x.sees("the rows after the change", tt.then...)
			x.press(tt.keys)
			x.sees("what keys do", tt.last...)
			x.press("\x03")
			if got := code(c.Wait()); got != tt.code {
				t.Errorf("exit code %d, not %d", got, tt.code)
			}
			until(t, "the terminal is restored", func() bool { return x.left(before) })
		})
	}
}

// TestWatchEnds: the terminal is restored however the command ends.
func TestWatchEnds(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	for name, end := range map[string]func(*screen, *nstest.Command) error{
		"q":       func(x *screen, _ *nstest.Command) error { x.press("q"); return nil },
		"esc":     func(x *screen, _ *nstest.Command) error { x.press("\x1b"); return nil },
		"ctrl-c":  func(x *screen, _ *nstest.Command) error { x.press("\x03"); return nil },
		"SIGINT":  func(_ *screen, c *nstest.Command) error { return c.Process.Signal(syscall.SIGINT) },
		"SIGTERM": func(_ *screen, c *nstest.Command) error { return c.Process.Signal(syscall.SIGTERM) },
		"SIGHUP":  func(_ *screen, c *nstest.Command) error { return c.Process.Signal(syscall.SIGHUP) },
		"SIGQUIT": func(_ *screen, c *nstest.Command) error { return c.Process.Signal(syscall.SIGQUIT) },
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			x := newScreen(t, 80, 8)
			before := x.modes()
			if before.Lflag&unix.ICANON == 0 || !x.left(before) {
				t.Fatalf("the terminal is %+v before", before)
			}
			c := w.command(w.Node, "inspect", "flows", "--watch")
			x.run(c)
			x.sees("it is shown", "0 flows")
			// The control: while the table is displayed, the modes differ.
			x.mu.Lock()
			full := x.full
			x.mu.Unlock()
			if !full || x.left(before) || x.modes().Lflag&(unix.ICANON|unix.ECHO) != 0 {
				t.Errorf("the terminal has the modes %+v while the table is displayed", x.modes())
			}
			assert.NoError(t, end(x, c))
			if err := c.Wait(); err != nil {
				t.Error(err)
			}
			until(t, "the terminal is restored", func() bool { return x.left(before) })
		})
	}
}
