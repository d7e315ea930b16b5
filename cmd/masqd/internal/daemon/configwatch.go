package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quietTime is how long no file may change before the files are read, and maxWait is
	// the time after the first change when they are read in any case.
	quietTime = 5 * time.Millisecond
	maxWait   = 40 * time.Millisecond
)

// firstChange is the time of the first change of files since they were read; zero: none.
// A program that does not rename a file into place leaves it empty, then incomplete, then
// complete. Each state may be a valid configuration.
type firstChange time.Time

// delay returns how long to wait for further changes after a change.
func (f *firstChange) delay(now time.Time) time.Duration {
	if time.Time(*f).IsZero() {
		*f = firstChange(now)
	}
	return min(quietTime, time.Time(*f).Add(maxWait).Sub(now))
}

// watch watches the directory of the files if it is not yet watched. It comes before they
// are read, so that no change is missed. A ConfigMap is a symbolic link into a directory
// that is replaced, so the directory is watched and not the file.
func (c *configuration) watch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.watcher.WatchList()) > 0 {
		return
	}
	dir := filepath.Dir(c.files)
	err := c.watcher.Add(dir)
	if err != nil && !c.watchFailed {
		c.log.Warn("directory of the configuration cannot be watched; each resync tries again", "directory", dir, "err", err)
	}
	c.watchFailed = err != nil
}

// run reads the files when they change.
func (c *configuration) run(ctx context.Context, changed func()) error {
	defer func() { _ = c.watcher.Close() }()
	var due <-chan time.Time // nil: no change to read
	var first firstChange
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-c.watcher.Events:
			if !ok {
				return errors.New("the watch of the files has ended")
			}
		case err, ok := <-c.watcher.Errors:
			if !ok || !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("watch the files: %w", err)
			}
		case <-due:
			due, first = nil, firstChange{}
			if c.read() {
				changed()
			}
			continue
		}
		due = time.After(first.delay(time.Now()))
	}
}
