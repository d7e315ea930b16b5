package reconcile

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/store"
)

// UnreadableRecord is a record that cannot be read. The rules of its attachment are kept.
type UnreadableRecord struct {
	*store.ReadError
	// Known is the last version of the record that could be read, without the fields that a
	// Snapshot omits; nil if there was none.
	Known *store.Record
}

// Unreadable returns the records that cannot be read, sorted by path.
func (c *Cache) Unreadable() (out []UnreadableRecord) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.unreadable {
		e := c.byName[name]
		if err, ok := errors.AsType[*store.ReadError](e.err); ok {
			out = append(out, UnreadableRecord{err, e.known})
		}
	}
	slices.SortFunc(out, func(a, b UnreadableRecord) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// HasUnreadable reports whether there is a record that cannot be read.
func (c *Cache) HasUnreadable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.unreadable) > 0
}

// Retry reads unreadable records again, and reports whether any has changed. It reads
// nothing if there are none.
func (c *Cache) Retry() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.version
	for name := range maps.Clone(c.unreadable) {
		c.read(filepath.Join(c.records.Dir(), name+".json"))
	}
	return c.version != before
}
