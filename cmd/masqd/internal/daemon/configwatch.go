package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
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

// watch watches the directories of the files and of the local MSS clamps if they are not yet
// watched. It comes before the files are read, so that no change is missed. A ConfigMap is a
// symbolic link into a directory that is replaced, so the directory is watched and not the
// file.
func (c *configuration) watch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, dir := range []string{filepath.Dir(c.files), filepath.Dir(c.records.MSSClampsPath())} {
		if slices.Contains(c.watcher.WatchList(), dir) {
			continue
		}
		err := c.watcher.Add(dir)
		if err != nil && !c.watchFailed {
			c.log.Warn("directory of the configuration cannot be watched; each resync tries again", "directory", dir, "err", err)
		}
		errs = append(errs, err)
	}
	c.watchFailed = errors.Join(errs...) != nil
}

// concerns reports whether an event may be about the files or the local MSS clamps. The
// directory of the clamps has other files of the state too.
func (c *configuration) concerns(path string) bool {
	return filepath.Dir(path) == filepath.Dir(c.files) || path == c.records.MSSClampsPath()
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
		case e, ok := <-c.watcher.Events:
			if !ok {
				return errors.New("the watch of the files has ended")
			}
			if !c.concerns(e.Name) {
				continue
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
