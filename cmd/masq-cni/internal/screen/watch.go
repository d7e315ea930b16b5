package screen

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// pauseFactor is how many times as long as a reading took no other begins: readings load
// the kernel.
const pauseFactor = 10

// Watch shows the rows of a source until a key or a signal ends it. It returns the fault of
// the last reading. The calling goroutine reads; the screen is drawn in another.
func Watch[T any](c *cobra.Command, x Flags, w output.Writer, s Source[T]) (err error) {
	in, out, err := x.terminals(c, w.Format)
	if err != nil {
		return err
	}
	// Report an error of the first reading before the screen is filled.
	by := order{column: s.First}
	got := read(c.Context(), s, by)
	if got.err != nil {
		return got.err
	}
	// The command's context ends with SIGINT and SIGTERM.
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	changes := make(chan settings, 1)
	readings, end := context.WithCancel(ctx)
	m := newModel(s, w.Style, got, changes)
	m.host = hostOf(c)
	shown := &panicGuard{Model: m, end: end}
	p := tea.NewProgram(shown, tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler())
	ended := make(chan error, 1)
	go func() {
		defer end()
		_, err := p.Run()
		ended <- err
	}()
	// Restore the terminal in every case, a panic of the source included.
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
	keepFault := func() {
		// An interrupted dump is no fault of the command: the next reading is whole.
		if got.err == nil && !errors.Is(got.Fault, conntrack.ErrInterrupted) {
			fault = got.Fault
		}
	}
	keepFault()
	x.repeat(readings, changes, settings{order: by}, got.took, func(with settings) time.Duration {
		got = read(readings, s, with.order)
		keepFault()
		p.Send(got)
		return got.took
	})
	return fault
}

// repeat calls f, which returns how long it took, until ctx ends: at each interval, and
// after a change of the settings as soon as pauseFactor allows.
func (x *Flags) repeat(ctx context.Context, changes <-chan settings, with settings, took time.Duration, f func(settings) time.Duration) {
	earliest := time.Now().Add(pauseFactor * took)
	timer := time.NewTimer(max(x.interval-took, pauseFactor*took))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case with = <-changes:
			timer.Stop()
			if !with.paused {
				timer.Reset(time.Until(earliest))
			}
		case <-timer.C:
			took = f(with)
			earliest = time.Now().Add(pauseFactor * took)
			timer.Reset(max(x.interval-took, pauseFactor*took))
		}
	}
}

// panicGuard ends the program in the ordinary way when its model panics. bubbletea's own
// recovery closes the terminal while another goroutine reads from it.
type panicGuard struct {
	tea.Model
	end      func()
	panicked string // with the stack
}

func (g *panicGuard) Update(msg tea.Msg) (_ tea.Model, cmd tea.Cmd) {
	defer g.recover()
	_, cmd = g.Model.Update(msg)
	return g, cmd
}

func (g *panicGuard) View() (v tea.View) {
	defer g.recover()
	return g.Model.View()
}

func (g *panicGuard) recover() {
	if r := recover(); r != nil && g.panicked == "" {
		g.panicked = fmt.Sprintf("%v\n\n%s", r, debug.Stack())
		g.end()
	}
}
