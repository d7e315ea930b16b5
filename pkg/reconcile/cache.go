package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// Cache has the records of the node in memory and watches their directory, so that a
// lookup reads no file. Several goroutines may use it.
type Cache struct {
	records *store.Records
	watcher *fsnotify.Watcher
	// refreshed is the modification time of the directory at the last Refresh.
	refreshed time.Time

	mu      sync.Mutex
	byName  map[string]*entry // by the file's name without .json
	version uint64
	// Values that several records have are in memory once: texts, and policies by content.
	texts    map[string]string
	policies map[string]*masq.Policy

	// The index of the readable records.
	claims       map[netip.Addr][]*entry // by address
	links        map[string]*entry       // by the host's end of the link, if it has the spoof check
	requirements map[requirement]int     // the number of records with each
	sorted       []*store.Record         // copied before a change if isShared
	isShared     bool                    // a Snapshot refers to sorted

	unreadable map[string]bool // by name
	changes    map[string]*recordChange
}

// entry is a record, or the error of reading it.
type entry struct {
	record store.Record
	err    error
	stamp  stamp
	// known is the last version that could be read, if err is set; nil if there was none.
	known *store.Record
}

// stamp identifies one version of a file.
type stamp struct {
	inode uint64
	size  int64
	mtime time.Time
}

func stampOf(info os.FileInfo) stamp {
	s := stamp{size: info.Size(), mtime: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = sys.Ino
	}
	return s
}

// Snapshot is the readable records at one time.
type Snapshot struct {
	// Records are sorted as store.Sort does it. They omit fields that do not affect
	// the kernel's desired state: the pod, the namespace's path, and most of the
	// evidence. An unchanged record has the same pointer in each snapshot. Callers must
	// not change the records.
	Records []*store.Record
	// Version changes with the content.
	Version uint64
}

// NewCache creates the directory, begins to watch it, and reads all records. The caller
// has to call Run or Close.
func NewCache(r *store.Records) (*Cache, error) {
	if err := os.MkdirAll(r.Dir(), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the records: %w", err)
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch the records: %w", err)
	}
	c := newCache(r)
	c.watcher = w
	if err := errors.Join(w.Add(r.Dir()), c.Reload()); err != nil {
		return nil, errors.Join(fmt.Errorf("watch the records: %w", err), w.Close())
	}
	return c, nil
}

// Close ends the watch of a cache whose Run is not called.
func (c *Cache) Close() error { return c.watcher.Close() }

// newCache returns an empty cache that watches nothing.
func newCache(r *store.Records) *Cache {
	return &Cache{
		records: r, byName: map[string]*entry{}, texts: map[string]string{}, policies: map[string]*masq.Policy{},
		claims: map[netip.Addr][]*entry{}, links: map[string]*entry{}, requirements: map[requirement]int{}, unreadable: map[string]bool{},
	}
}

// Reload lists the directory and reads the files that have changed.
func (c *Cache) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reload()
}

// reload is Reload with the lock held. Without the lock, an event might add a record after
// the directory was listed, and reload would drop that record.
func (c *Cache) reload() error {
	files, err := os.ReadDir(c.records.Dir())
	if err != nil {
		return fmt.Errorf("list the records: %w", err)
	}
	listed := map[string]bool{}
	for _, f := range files {
		if !c.records.Owns(f.Name()) {
			continue
		}
		listed[nameOf(f.Name())] = true
		old := c.byName[nameOf(f.Name())]
		// Files that could not be read are read again: the error may have been temporary.
		if info, err := f.Info(); old == nil || old.err != nil || err != nil || stampOf(info) != old.stamp {
			c.read(filepath.Join(c.records.Dir(), f.Name()))
		}
	}
	inUse := map[*masq.Policy]bool{}
	for name, e := range c.byName {
		inUse[e.record.Policy] = true
		if !listed[name] {
			c.drop(name)
		}
	}
	maps.DeleteFunc(c.policies, func(_ string, p *masq.Policy) bool { return !inUse[p] })
	return nil
}

// mtimeGranularity is how long after a change of the directory another change may leave its
// modification time unchanged: file systems count time in ticks of the kernel.
const mtimeGranularity = 20 * time.Millisecond

// Refresh reads the files that have changed, if the modification time of the directory has.
// It does not need events, which may be late. If the caller has read the ruleset before, the
// cache then has the record of every attachment in that ruleset.
func (c *Cache) Refresh() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	info, err := os.Stat(c.records.Dir())
	if err != nil {
		return fmt.Errorf("read the directory of the records: %w", err)
	}
	if info.ModTime().Equal(c.refreshed) {
		return nil
	}
	if time.Since(info.ModTime()) > mtimeGranularity {
		c.refreshed = info.ModTime()
	}
	return c.reload()
}

func nameOf(path string) string { return strings.TrimSuffix(filepath.Base(path), ".json") }

// Snapshot returns the readable records. It copies nothing.
func (c *Cache) Snapshot() Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isShared = true
	return Snapshot{Records: c.sorted, Version: c.version}
}

// Run watches the directory until the context ends, and then returns nil. It calls changed
// after each change. lost reports that events were lost and all files were compared.
func (c *Cache) Run(ctx context.Context, changed func(lost bool)) error {
	defer func() { _ = c.watcher.Close() }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-c.watcher.Events:
			if !ok {
				return errors.New("watch the records: the watch has ended")
			}
			if c.records.Owns(e.Name) && c.readAgain(e.Name) {
				changed(false)
			}
		case err, ok := <-c.watcher.Errors:
			if !ok {
				return errors.New("watch the records: the watch has ended")
			}
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("watch the records: %w", err)
			}
			if err := c.Reload(); err != nil {
				return err
			}
			changed(true)
		}
	}
}

// readAgain reads one file, and reports whether the record has changed.
func (c *Cache) readAgain(path string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.version
	c.read(path)
	return c.version != before
}

// reread reads the records with these digests again if their files have changed: events
// may be late.
func (c *Cache) reread(digests ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range digests {
		path := c.records.PathOf(d)
		old := c.byName[nameOf(path)]
		if info, err := os.Lstat(path); old == nil || old.err != nil || err != nil || stampOf(info) != old.stamp {
			c.read(path)
		}
	}
}

// read reads a file. It takes the stamp first: if the file changes meanwhile, the stamp is
// outdated and the file is read again.
func (c *Cache) read(path string) {
	name := nameOf(path)
	var current stamp
	if info, err := os.Lstat(path); err == nil {
		current = stampOf(info)
	}
	rec, err := c.records.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		c.drop(name)
		return
	}
	rec, old := c.compact(rec), c.byName[name]
	if old != nil && (old.err == nil && err == nil && reflect.DeepEqual(old.record, rec) ||
		old.err != nil && err != nil && old.err.Error() == err.Error()) {
		old.stamp = current // the content is unchanged
		return
	}
	e := &entry{record: rec, err: err, stamp: current}
	if err != nil && old != nil {
		if e.known = old.known; old.err == nil {
			e.known = &old.record
		}
	}
	c.put(strings.Clone(name), e) // the clone does not keep the rest of the path in memory
}

func (c *Cache) drop(name string) {
	if c.byName[name] != nil {
		c.put(name, nil)
	}
}
