package install

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/masq-cni/masq-cni/pkg/cnidir"
)

const (
	// gather is how long after an event a look follows: a change comes as several.
	gather = 50 * time.Millisecond
	// unsettled is how soon a file that was being written is looked at again.
	unsettled = 200 * time.Millisecond
	// again is how soon a look follows one that failed.
	again = 5 * time.Second
	// regular is the time between looks that no event asked for.
	regular = time.Minute
)

// pace keeps from fighting: who puts a file back each time that another puts it back
// too would have the runtime read its configuration without end.
type pace struct {
	delay time.Duration
	last  time.Time // of a change
	hold  time.Time // no look before this
}

const (
	leastDelay = 100 * time.Millisecond
	mostDelay  = 10 * time.Second
	// calm is how long nothing has to be changed for a change to be the first again.
	calm = time.Minute
)

// changed has the next look wait, twice as long as the last one.
func (p *pace) changed(now time.Time) {
	if p.last.IsZero() || now.Sub(p.last) > calm {
		p.delay = leastDelay
	} else {
		p.delay = min(2*p.delay, mostDelay)
	}
	p.last, p.hold = now, now.Add(p.delay)
}

// fighting reports whether another program keeps undoing what is done.
func (p *pace) fighting() bool { return p.delay == mostDelay }

// after is when to look at what an event tells of.
func (p *pace) after(now time.Time) time.Time {
	due := now.Add(gather)
	if p.hold.After(due) {
		return p.hold
	}
	return due
}

// follow looks, and looks again whenever something changes in the directories. Only
// what fails the first time ends it.
func (i *install) follow(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("follow the directories: %w", err)
	}
	defer func() { _ = w.Close() }()
	var (
		p      pace
		well   bool   // a look has ended well
		why    string // the last did not
		due    = time.Now()
		timer  = time.NewTimer(0)
		sooner = func(t time.Time) {
			if t.Before(due) {
				due = t
				timer.Reset(time.Until(due))
			}
		}
	)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			i.log.Info("ended; what was installed stays")
			return nil
		case _, ok := <-w.Events:
			if !ok {
				return errors.New("follow the directories: the watch has ended")
			}
			sooner(p.after(time.Now()))
			continue
		case err, ok := <-w.Errors:
			if !ok || !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("follow the directories: %w", err)
			}
			sooner(p.after(time.Now()))
			continue
		case <-timer.C:
		}
		i.attend(w)
		changed, err := i.look(ctx)
		if changed {
			p.changed(time.Now())
			if p.fighting() {
				i.once(ctx, slog.LevelWarn, "another program writes the configuration again and again without masq; have it leave the file alone",
					"directory", i.confDir, "put back each", mostDelay)
			}
		}
		next, level := regular, slog.LevelError
		switch {
		case err == nil:
			well, why = true, ""
		case ctx.Err() != nil:
			continue
		case errors.Is(err, cnidir.ErrUnsettled):
			next, err = unsettled, nil
		case errors.Is(err, cnidir.ErrNone):
			next, level = again, slog.LevelInfo
		case !well:
			return err
		default:
			next = again
		}
		if err != nil && err.Error() != why {
			why = err.Error()
			i.log.Log(ctx, level, "not installed", "err", err)
		}
		due = time.Now().Add(next)
		timer.Reset(next)
	}
}

// attend has events of both directories arrive, whether they are there yet or were
// made anew: what is followed is a directory, not its name.
func (i *install) attend(w *fsnotify.Watcher) {
	for _, dir := range []string{i.confDir, i.binDir} {
		if slices.Contains(w.WatchList(), dir) {
			_ = w.Remove(dir)
		}
		_ = w.Add(dir) // not there: the next look tries again
	}
}
