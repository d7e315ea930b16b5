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
	// eventDelay is the time between an event and the installation: a change causes several
	// events.
	eventDelay = 50 * time.Millisecond
	// unsettledDelay is the time until a file is read again that another program was writing.
	unsettledDelay = 200 * time.Millisecond
	// retryDelay is the time between a failed installation and the next one.
	retryDelay = 5 * time.Second
	// checkInterval is the time between two installations without events.
	checkInterval = time.Minute
)

// follow installs, and installs again after each change in the directories. It ends with
// ctx, or with an error if the first installation fails.
func (i *install) follow(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the directories: %w", err)
	}
	defer func() { _ = w.Close() }()
	var (
		p         pace
		succeeded bool   // an installation has succeeded
		lastError string // empty after a successful installation
		next      = time.Now()
		timer     = time.NewTimer(0)
		advance   = func(t time.Time) {
			if t.Before(next) {
				next = t
				timer.Reset(time.Until(next))
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
				return errors.New("watch the directories: the watch has ended")
			}
			advance(p.afterEvent(time.Now()))
			continue
		case err, ok := <-w.Errors:
			if !ok || !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("watch the directories: %w", err)
			}
			advance(p.afterEvent(time.Now()))
			continue
		case <-timer.C:
		}
		i.watchDirectories(w)
		changed, err := i.apply(ctx)
		if changed {
			p.changed(time.Now())
			if p.isRepairLoop() {
				i.logOnce(ctx, slog.LevelWarn, "another program repeatedly removes masq from the configuration; configure it to leave the file unchanged",
					"directory", i.confDir, "interval", maxDelay)
			}
		}
		delay, level := checkInterval, slog.LevelError
		switch {
		case err == nil:
			succeeded, lastError = true, ""
		case ctx.Err() != nil:
			continue
		case errors.Is(err, cnidir.ErrBusy):
			delay, err = unsettledDelay, nil
		case errors.Is(err, cnidir.ErrNoNetwork):
			delay, level = retryDelay, slog.LevelInfo
		case !succeeded:
			return err
		default:
			delay = retryDelay
		}
		if err != nil && err.Error() != lastError {
			lastError = err.Error()
			i.log.Log(ctx, level, "not installed", "err", err)
		}
		next = time.Now().Add(delay)
		timer.Reset(delay)
	}
}

// watchDirectories requests events of both directories. It requests them again each time,
// since a watch belongs to a directory, not to its name, and a directory may be replaced.
func (i *install) watchDirectories(w *fsnotify.Watcher) {
	for _, dir := range []string{i.confDir, i.binDir} {
		if slices.Contains(w.WatchList(), dir) {
			_ = w.Remove(dir)
		}
		_ = w.Add(dir) // fails for a missing directory; the next call tries again
	}
}
