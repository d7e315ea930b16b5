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

// Cache holds the records in memory and follows the directory, so that asking for
// all of them costs no reading of files.
type Cache struct {
	records *store.Records
	watcher *fsnotify.Watcher
	// refreshed is the time of the directory that Refresh last saw; of one goroutine.
	refreshed time.Time

	mu      sync.Mutex
	byName  map[string]*held // by what the file's name has before .json
	version uint64
	texts   map[string]string       // texts that many records have
	content map[string]*masq.Policy // by contentOf: attachments share equal policies
	claims  map[netip.Addr][]*held  // the records that have an address
	links   map[string]*held        // by the host's end of the link, where its sources are checked
	uses    map[Use]int             // how many records need what
	changes changes

	sorted []*store.Record // readable records, sorted; never changed in place
	shared bool            // a Snapshot has sorted

	unreadable map[string]bool // by name
}

// held is a record, or why it cannot be read.
type held struct {
	record store.Record
	err    error
	stamp  stamp
	// known is what the record said when it could be read last; nil unless err is set.
	known *store.Record
}

// stamp tells one writing of a file from another.
type stamp struct {
	inode uint64
	size  int64
	mtime time.Time
}

// stampOf looks before a file is read: what is written meanwhile has another.
func stampOf(info os.FileInfo) stamp {
	s := stamp{size: info.Size(), mtime: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = sys.Ino
	}
	return s
}

// Snapshot is what the records said at one moment.
type Snapshot struct {
	// Records are sorted as store.Sort does it. They omit fields that do not affect
	// the kernel's desired state: the pod, the namespace's path, and most of the
	// evidence. An unchanged record has the same pointer in each snapshot. Callers must
	// not change the records.
	Records []*store.Record
	// Version is another one for each content.
	Version uint64
	// Err tells of records that cannot be read.
	Err error
}

// NewCache creates the directory, begins to watch it, and reads all records. Run has to be
// called.
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

// newCache returns an empty cache that watches nothing.
func newCache(r *store.Records) *Cache {
	return &Cache{
		records: r, byName: map[string]*held{}, texts: map[string]string{}, content: map[string]*masq.Policy{},
		claims: map[netip.Addr][]*held{}, links: map[string]*held{}, uses: map[Use]int{}, unreadable: map[string]bool{},
	}
}

// Reload looks at each file, and reads those that changed unheard of.
func (c *Cache) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reload()
}

// reload lists the directory with the lock held: a record that an event brings
// meanwhile would not be in the list, and be forgotten.
func (c *Cache) reload() error {
	entries, err := os.ReadDir(c.records.Dir())
	if err != nil {
		return fmt.Errorf("list the records: %w", err)
	}
	there := map[string]bool{}
	for _, e := range entries {
		if !c.records.Owns(e.Name()) {
			continue
		}
		there[nameOf(e.Name())] = true
		old := c.byName[nameOf(e.Name())]
		// An error may pass: too many open files, wrong permissions.
		if info, err := e.Info(); old == nil || old.err != nil || err != nil || stampOf(info) != old.stamp {
			c.take(filepath.Join(c.records.Dir(), e.Name()))
		}
	}
	used := map[*masq.Policy]bool{}
	for name, h := range c.byName {
		used[h.record.Policy] = true
		if !there[name] {
			c.forget(name)
		}
	}
	maps.DeleteFunc(c.content, func(_ string, p *masq.Policy) bool { return !used[p] })
	return nil
}

// unsettled is how long after a change of the directory another may leave its time as
// it is: file systems count time in ticks.
const unsettled = 20 * time.Millisecond

// Refresh is Reload where the directory has changed since, so that whoever looked at
// the kernel before knows the records of all that he saw there: events may be late.
func (c *Cache) Refresh() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	info, err := os.Stat(c.records.Dir())
	if err != nil {
		return fmt.Errorf("look at the directory of the records: %w", err)
	}
	if info.ModTime().Equal(c.refreshed) {
		return nil
	}
	if time.Since(info.ModTime()) > unsettled {
		c.refreshed = info.ModTime()
	}
	return c.reload()
}

func nameOf(path string) string { return strings.TrimSuffix(filepath.Base(path), ".json") }

// Snapshot returns all records. It costs little: their order is kept.
func (c *Cache) Snapshot() Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Snapshot{Records: c.sorted, Version: c.version}
	c.shared = true
	var errs []error
	for name := range c.unreadable {
		errs = append(errs, c.byName[name].err)
	}
	s.Err = errors.Join(errs...)
	return s
}

// Run follows the directory until the context ends, which is no error. It calls
// changed after each change; lost says that there were more than could be told, and
// everything was looked at.
func (c *Cache) Run(ctx context.Context, changed func(lost bool)) error {
	defer func() { _ = c.watcher.Close() }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-c.watcher.Events:
			if !ok {
				return errors.New("follow the records: the watch has ended")
			}
			if c.records.Owns(e.Name) && c.readAgain(e.Name) {
				changed(false)
			}
		case err, ok := <-c.watcher.Errors:
			if !ok {
				return errors.New("follow the records: the watch has ended")
			}
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("follow the records: %w", err)
			}
			if err := c.Reload(); err != nil {
				return err
			}
			changed(true)
		}
	}
}

// readAgain brings one file up to date, and reports whether that changed anything.
func (c *Cache) readAgain(path string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.version
	c.take(path)
	return c.version != before
}

// take reads a file.
func (c *Cache) take(path string) {
	name := nameOf(path)
	var now stamp
	if info, err := os.Lstat(path); err == nil {
		now = stampOf(info)
	}
	rec, err := c.records.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		c.forget(name)
		return
	}
	slim, old := c.slim(rec), c.byName[name]
	if old != nil && (old.err == nil && err == nil && reflect.DeepEqual(old.record, slim) ||
		old.err != nil && err != nil && old.err.Error() == err.Error()) {
		old.stamp = now // a second event for one writing, or it was read before the event came
		return
	}
	fresh := &held{record: slim, err: err, stamp: now}
	if err != nil && old != nil {
		if fresh.known = old.known; old.err == nil {
			fresh.known = &old.record
		}
	}
	// The rest of the path is not kept with the name.
	name = strings.Clone(name)
	c.put(name, fresh)
}

func (c *Cache) forget(name string) {
	if c.byName[name] != nil {
		c.put(name, nil)
	}
}

// slim leaves out what is not needed here, and shares what many records have.
func (c *Cache) slim(r store.Record) store.Record {
	r.Pod, r.NetNS, r.Links = masq.Pod{}, "", nil
	r.Prefixes, r.Routes = nil, nil // the container's side of the link is not compared here
	r.Evidence = slimEvidence(r.Evidence, c.intern)
	for _, s := range []*string{&r.Network, &r.Interface, &r.IPAM} {
		*s = c.intern(*s)
	}
	if r.Policy == nil {
		return r
	}
	content := contentOf(r.Policy)
	if known := c.content[content]; known != nil {
		r.Policy = known
	} else {
		c.content[content] = r.Policy
	}
	return r
}

// contentOf is a text that is the same for policies that may share memory. The digest
// leaves out the annotations that a network allows. They decide what an attachment gets
// of the node's policy, and no list is not an empty one.
func contentOf(p *masq.Policy) string {
	if p.AllowAnnotations == nil {
		return p.Digest()
	}
	return p.Digest() + "/" + strings.Join(p.AllowAnnotations, ",")
}

func (c *Cache) intern(s string) string {
	if known, ok := c.texts[s]; ok {
		return known
	}
	s = strings.Clone(s)
	c.texts[s] = s
	return s
}
