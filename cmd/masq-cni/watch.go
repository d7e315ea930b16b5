package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// watching is whether a command goes on looking, and how often.
type watching struct {
	on       bool
	interval time.Duration
}

const (
	leastInterval = 100 * time.Millisecond
	// rest is how many times as long as it took to look nobody looks again.
	rest = 10
)

func (x *watching) flags(c *cobra.Command) {
	f := c.PersistentFlags()
	f.BoolVar(&x.on, "watch", false, "fill the terminal and read again and again; keys sort and filter, ? lists them")
	f.DurationVar(&x.interval, "interval", time.Second, "with --watch, `TIME` from one reading to the next; at least 10 times as long as a reading takes")
}

// terminals are where --watch reads keys, and where it draws.
func (x *watching) terminals(c *cobra.Command, format report.Format) (in, out *os.File, err error) {
	const mend = "; run it on a terminal, or leave --watch out"
	var errs []error
	if format != "" {
		errs = append(errs, fmt.Errorf("--watch is for a person, and --output %q for a program; leave one of them out", format))
	}
	if x.interval < leastInterval {
		errs = append(errs, fmt.Errorf("--interval %s is below %s; give a longer time", x.interval, leastInterval))
	}
	in, ok := c.InOrStdin().(*os.File)
	if !ok || !isatty.IsTerminal(in.Fd()) {
		errs = append(errs, errors.New("--watch: the standard input is no terminal"+mend))
	}
	out, ok = c.OutOrStdout().(*os.File)
	if !ok || !isatty.IsTerminal(out.Fd()) {
		errs = append(errs, errors.New("--watch: the standard output is no terminal"+mend))
	}
	if term := os.Getenv("TERM"); term == "" || term == "dumb" {
		errs = append(errs, errors.New("--watch: TERM is "+strconv.Quote(term)+", which cannot move its cursor; set it to the terminal's kind, such as xterm"))
	}
	return in, out, errors.Join(errs...)
}

// watch shows rows until a key or a signal ends it, and returns what was lacking in the
// last look. The calling goroutine looks, since it may be in a network namespace of
// its own; the screen has another.
func watch[T any](c *cobra.Command, x watching, a answer, s source[T]) (err error) {
	in, out, err := x.terminals(c, a.format)
	if err != nil {
		return err
	}
	// A person who could see nothing is told before the screen is filled.
	by := order{column: s.first}
	got := look(c.Context(), s, by)
	if got.err != nil {
		return got.err
	}
	// main waits for the others.
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	wishes := make(chan wish, 1)
	looking, end := context.WithCancel(ctx)
	model := newScreen(s, a.Color, got, wishes)
	model.host = x.host(c)
	shown := &careful{Model: model, end: end}
	p := tea.NewProgram(shown, tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler())
	ended := make(chan error, 1)
	go func() {
		defer end()
		_, err := p.Run()
		ended <- err
	}()
	// Whatever happens here, the terminal becomes again what it was.
	defer func() {
		p.Quit()
		if drawn := <-ended; drawn != nil && ctx.Err() == nil {
			err = errors.Join(err, drawn)
		}
		if shown.panicked != "" {
			panic(shown.panicked)
		}
	}()
	var fault error
	heed := func() {
		// An interrupted look was said, and the next would have been another.
		if got.err == nil && !errors.Is(got.fault, conntrack.ErrInterrupted) {
			fault = got.fault
		}
	}
	heed()
	x.lookOn(looking, wishes, wish{order: by}, got.took, func(w wish) time.Duration {
		got = look(looking, s, w.order)
		heed()
		p.Send(got)
		return got.took
	})
	return fault
}

// host returns the name of the watched node: the machine's host name, if it can be read,
// and the network namespace that --netns gave.
func (x *watching) host(c *cobra.Command) string {
	name, err := os.Hostname()
	if err != nil {
		name = ""
	}
	if f := c.Flag("netns"); f != nil && f.Changed {
		name = strings.TrimSpace(name + " netns " + filepath.Base(f.Value.String()))
	}
	return report.Sentence(name)
}

// careful ends the program in its ordinary way when its model panics. bubbletea's own
// way closes the terminal while it is read.
type careful struct {
	tea.Model
	end      func()
	panicked string // with the stack
}

func (c *careful) Update(msg tea.Msg) (_ tea.Model, cmd tea.Cmd) {
	defer c.caught()
	_, cmd = c.Model.Update(msg)
	return c, cmd
}

func (c *careful) View() (v tea.View) {
	defer c.caught()
	return c.Model.View()
}

func (c *careful) caught() {
	if r := recover(); r != nil && c.panicked == "" {
		c.panicked = fmt.Sprintf("%v\n\n%s", r, debug.Stack())
		c.end()
	}
}

// lookOn calls f, which returns how long it took, until ctx ends: after the interval,
// and where a wish is new as soon as the pace allows.
func (x *watching) lookOn(ctx context.Context, wishes <-chan wish, w wish, took time.Duration, f func(wish) time.Duration) {
	rested := time.Now().Add(rest * took)
	timer := time.NewTimer(max(x.interval-took, rest*took))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case w = <-wishes:
			timer.Stop()
			if !w.paused {
				timer.Reset(time.Until(rested))
			}
		case <-timer.C:
			took = f(w)
			rested = time.Now().Add(rest * took)
			timer.Reset(max(x.interval-took, rest*took))
		}
	}
}
