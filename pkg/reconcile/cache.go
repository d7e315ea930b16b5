package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// Cache holds the records in memory and follows the directory, so that asking for
// all of them costs no reading of files.
type Cache struct {
	records *store.Records
	watcher *fsnotify.Watcher

	mu       sync.Mutex
	byPath   map[string]held
	policies map[string]*masq.Policy // by content: attachments share what is the same
}

// held is a record, or why it cannot be read.
type held struct {
	record store.Record
	err    error
}

// NewCache makes the directory and begins to follow it.
func NewCache(r *store.Records) (*Cache, error) {
	if err := os.MkdirAll(r.Dir(), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the records: %w", err)
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("follow the records: %w", err)
	}
	c := &Cache{records: r, watcher: w, policies: map[string]*masq.Policy{}}
	if err := errors.Join(w.Add(r.Dir()), c.Reload()); err != nil {
		return nil, errors.Join(fmt.Errorf("follow the records: %w", err), w.Close())
	}
	return c, nil
}

// Reload reads everything anew: what changed unheard of is known again.
func (c *Cache) Reload() error {
	entries, err := os.ReadDir(c.records.Dir())
	if err != nil {
		return fmt.Errorf("list the records: %w", err)
	}
	fresh := map[string]held{}
	for _, e := range entries {
		path := filepath.Join(c.records.Dir(), e.Name())
		if !c.records.Owns(path) {
			continue
		}
		if h := c.read(path); !errors.Is(h.err, fs.ErrNotExist) {
			fresh[path] = h
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byPath = fresh
	return nil
}

// All is as that of Records.
func (c *Cache) All() ([]store.Record, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]store.Record, 0, len(c.byPath))
	var errs []error
	for _, h := range c.byPath {
		if h.err != nil {
			errs = append(errs, h.err)
			continue
		}
		out = append(out, h.record)
	}
	store.Sort(out)
	return out, errors.Join(errs...)
}

// Run follows the directory until the context ends, which is no error. It calls
// changed after each change; lost says that there were more than could be told, and
// everything was read anew.
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
			if c.take(e) {
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

func (c *Cache) read(path string) held {
	rec, err := c.records.Read(path)
	if err == nil && rec.Policy != nil {
		rec.Policy = c.intern(rec.Policy)
	}
	return held{rec, err}
}

// intern returns the one policy that says what p does.
func (c *Cache) intern(p *masq.Policy) *masq.Policy {
	c.mu.Lock()
	defer c.mu.Unlock()
	content := p.Digest()
	if known, ok := c.policies[content]; ok {
		return known
	}
	c.policies[content] = p
	return p
}

// take brings one file up to date.
func (c *Cache) take(e fsnotify.Event) bool {
	if !c.records.Owns(e.Name) {
		return false
	}
	h := c.read(e.Name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(h.err, fs.ErrNotExist) {
		_, was := c.byPath[e.Name]
		delete(c.byPath, e.Name)
		return was
	}
	c.byPath[e.Name] = h
	return true
}
