package reconcile

import (
	"maps"
	"os"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// What the Cache knows of its records, so that work for one record does not grow with
// their number.

// Use is what records have in common that need the same chains, sets and helpers.
type Use struct {
	Policy *masq.Policy // the record's; one that many records have is one pointer
	V4, V6 bool         // the families of the addresses
	// Ready distinguishes attachments that are in place from attachments that the
	// plugin is adding or removing.
	Ready bool
}

// useOf returns what a record needs; ok is false where that is nothing.
func useOf(r *store.Record) (u Use, ok bool) {
	if r == nil || r.Policy == nil {
		return u, false
	}
	u = Use{Policy: r.Policy, Ready: r.Ready}
	for _, a := range r.Addresses {
		u.V4, u.V6 = u.V4 || a.Is4(), u.V6 || !a.Is4()
	}
	return u, true
}

// RecordChange is a record before and after a change. Before or After is nil if there
// was, or is, no readable record. A record that was added and removed meanwhile is
// Before.
type RecordChange struct {
	Digest        string // the digest of the key
	Before, After *store.Record
}

// changes are the records that changed since Changes was called, by their names.
type changes map[string]*RecordChange

// Changes returns what changed since it was called before, once for each record. There
// is one caller.
func (c *Cache) Changes() []RecordChange {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []RecordChange
	for _, x := range c.changes {
		out = append(out, *x)
	}
	c.changes = nil
	return out
}

// Uses returns what the records need, and how many need it.
func (c *Cache) Uses() map[Use]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.uses)
}

// Claims returns the records that have an address, or a link, in the order in which
// their attachments were made.
func (c *Cache) Claims(of ruleset.Subject) []*store.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.claims[of.Address]
	if !of.Address.IsValid() {
		if all = nil; c.links[of.Link] != nil {
			all = []*held{c.links[of.Link]}
		}
	}
	if len(all) == 0 {
		return nil
	}
	out := make([]*store.Record, 0, len(all))
	for _, h := range all {
		out = append(out, &h.record)
	}
	slices.SortFunc(out, store.Compare)
	return out
}

// Ownership is the state of an attachment's record.
type Ownership uint8

// The record of an attachment is missing, belongs to an attachment in place, says that
// the plugin is at work on the attachment, or cannot be read.
const (
	Unowned Ownership = iota
	Owned
	Pending
	Unreadable
)

// Reread reads the records with these digests of keys again if their files have
// changed: events may be late.
func (c *Cache) Reread(digests ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range digests {
		path := c.records.PathOf(d)
		h := c.byName[nameOf(path)]
		if info, err := os.Lstat(path); h == nil || h.err != nil || err != nil || stampOf(info) != h.stamp {
			c.take(path)
		}
	}
}

// Owner returns the state of the record with this digest of a key.
func (c *Cache) Owner(digest string) Ownership {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.byName[nameOf(c.records.PathOf(digest))]
	switch {
	case h == nil:
		return Unowned
	case h.err != nil:
		return Unreadable
	case h.record.Ready:
		return Owned
	}
	return Pending
}

// put notes what a record is now, nil where it is gone.
func (c *Cache) put(name string, now *held) {
	was := c.byName[name]
	var before, after *store.Record
	if was != nil {
		c.unindex(was)
		if was.err == nil {
			before = &was.record
		}
	}
	delete(c.byName, name)
	delete(c.unreadable, name)
	if now != nil {
		c.byName[name] = now
		c.index(now)
		if now.err == nil {
			after = &now.record
		} else {
			c.unreadable[name] = true
		}
	}
	c.version++
	c.resort(before, after)
	x := c.changes[name]
	if x == nil {
		x = &RecordChange{Digest: c.records.DigestOf(name)}
		if c.changes == nil {
			c.changes = changes{}
		}
		c.changes[name] = x
	}
	if x.After = after; x.Before == nil {
		x.Before = before
	}
}

func (c *Cache) index(h *held) {
	if h.err != nil {
		return
	}
	for _, a := range h.record.Addresses {
		c.claims[a] = append(c.claims[a], h)
	}
	if h.record.SpoofCheck {
		c.links[h.record.HostName()] = h
	}
	if u, ok := useOf(&h.record); ok {
		c.uses[u]++
	}
}

func (c *Cache) unindex(h *held) {
	if h.err != nil {
		return
	}
	for _, a := range h.record.Addresses {
		rest := slices.DeleteFunc(c.claims[a], func(x *held) bool { return x == h })
		if c.claims[a] = rest; len(rest) == 0 {
			delete(c.claims, a)
		}
	}
	if h.record.SpoofCheck {
		delete(c.links, h.record.HostName())
	}
	if u, ok := useOf(&h.record); ok {
		if c.uses[u]--; c.uses[u] == 0 {
			delete(c.uses, u)
		}
	}
}

// resort keeps the records in order.
func (c *Cache) resort(before, after *store.Record) {
	if c.shared {
		c.sorted, c.shared = slices.Clone(c.sorted), false
	}
	if before != nil {
		i, found := slices.BinarySearchFunc(c.sorted, before, store.Compare)
		for found && i < len(c.sorted) && c.sorted[i] != before { // two that compare as equal
			i++
		}
		if found && i < len(c.sorted) {
			c.sorted = slices.Delete(c.sorted, i, i+1)
		}
	}
	if after != nil {
		i, _ := slices.BinarySearchFunc(c.sorted, after, store.Compare)
		c.sorted = slices.Insert(c.sorted, i, after)
	}
}
