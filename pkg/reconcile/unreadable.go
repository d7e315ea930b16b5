package reconcile

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/store"
)

// UnreadableRecord is a record that cannot be read. The rules of its attachment stay as they
// are.
type UnreadableRecord struct {
	*store.ReadError
	// Known is what is in memory of the record, as it was before; nil where it never
	// could be read.
	Known *store.Record
}

// Unreadable returns the records that cannot be read, by path.
func (c *Cache) Unreadable() (out []UnreadableRecord) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.unreadable {
		h := c.byName[name]
		if e, ok := errors.AsType[*store.ReadError](h.err); ok {
			out = append(out, UnreadableRecord{e, h.known})
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

// Retry reads the records again that could not be read, and reports whether that
// changed anything. Where all can be read it costs nothing.
func (c *Cache) Retry() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.version
	for name := range maps.Clone(c.unreadable) {
		c.take(filepath.Join(c.records.Dir(), name+".json"))
	}
	return c.version != before
}
