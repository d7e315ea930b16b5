package reconcile

import (
	"maps"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// With the index of a Cache, the work for one record does not depend on the number of
// records.

// requirement is what a record requires of the table's structure. Records with the same
// requirement need the same chains, sets and helpers.
type requirement struct {
	policy  *masq.Policy // the record's; equal policies have the same pointer
	v4, v6  bool         // the families of the addresses
	isReady bool         // false if the plugin is adding or removing the attachment
}

// requirementOf returns what a record requires; ok is false if it requires nothing.
func requirementOf(r *store.Record) (q requirement, ok bool) {
	if r == nil || r.Policy == nil {
		return q, false
	}
	q = requirement{policy: r.Policy, isReady: r.Ready}
	for _, a := range r.Addresses {
		q.v4, q.v6 = q.v4 || a.Is4(), q.v6 || !a.Is4()
	}
	return q, true
}

// recordChange is a record before and after a change; nil if there was, or is, no readable
// record. For a record that was added and removed since the last call of takeChanges,
// before is that record.
type recordChange struct {
	digest        string // digest of the key
	before, after *store.Record
}

// takeChanges returns the changes since the last call, one for each record. Only the Loop
// calls it.
func (c *Cache) takeChanges() []recordChange {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []recordChange
	for _, x := range c.changes {
		out = append(out, *x)
	}
	c.changes = nil
	return out
}

// allRequirements returns the requirements of the records, with the number of records.
func (c *Cache) allRequirements() map[requirement]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.requirements)
}

// Policies returns the policies of the readable records, each once. Equal policies have the
// same pointer in each Snapshot.
func (c *Cache) Policies() []*masq.Policy {
	seen := map[*masq.Policy]bool{}
	for q := range c.allRequirements() {
		seen[q.policy] = true
	}
	return slices.Collect(maps.Keys(seen))
}

// claimsOf returns the records that have an address or a link, in the order in which their
// attachments were created.
func (c *Cache) claimsOf(s ruleset.Subject) []*store.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.claims[s.Address]
	if !s.Address.IsValid() {
		if all = nil; c.links[s.Link] != nil {
			all = []*entry{c.links[s.Link]}
		}
	}
	if len(all) == 0 {
		return nil
	}
	out := make([]*store.Record, 0, len(all))
	for _, e := range all {
		out = append(out, &e.record)
	}
	slices.SortFunc(out, store.Compare)
	return out
}

// recordState is the state of an attachment's record.
type recordState uint8

const (
	recordMissing recordState = iota
	recordReady
	recordPending // the plugin is adding or removing the attachment
	recordUnreadable
)

// stateOf returns the state of the record with a digest.
func (c *Cache) stateOf(digest string) recordState {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byName[nameOf(c.records.PathOf(digest))]
	switch {
	case e == nil:
		return recordMissing
	case e.err != nil:
		return recordUnreadable
	case e.record.Ready:
		return recordReady
	}
	return recordPending
}

// put replaces an entry, or removes it if e is nil.
func (c *Cache) put(name string, e *entry) {
	var before, after *store.Record
	if old := c.byName[name]; old != nil && old.err == nil {
		c.unindex(old)
		before = &old.record
	}
	delete(c.byName, name)
	delete(c.unreadable, name)
	if e != nil {
		c.byName[name] = e
		if e.err == nil {
			c.index(e)
			after = &e.record
		} else {
			c.unreadable[name] = true
		}
	}
	c.version++
	c.sort(before, after)
	change := c.changes[name]
	if change == nil {
		change = &recordChange{digest: c.records.DigestOf(name)}
		if c.changes == nil {
			c.changes = map[string]*recordChange{}
		}
		c.changes[name] = change
	}
	if change.after = after; change.before == nil {
		change.before = before
	}
}

func (c *Cache) index(e *entry) {
	for _, a := range e.record.Addresses {
		c.claims[a] = append(c.claims[a], e)
	}
	if e.record.SpoofCheck {
		c.links[e.record.HostName()] = e
	}
	if q, ok := requirementOf(&e.record); ok {
		c.requirements[q]++
	}
}

func (c *Cache) unindex(e *entry) {
	for _, a := range e.record.Addresses {
		rest := slices.DeleteFunc(c.claims[a], func(x *entry) bool { return x == e })
		if c.claims[a] = rest; len(rest) == 0 {
			delete(c.claims, a)
		}
	}
	if e.record.SpoofCheck {
		delete(c.links, e.record.HostName())
	}
	if q, ok := requirementOf(&e.record); ok {
		if c.requirements[q]--; c.requirements[q] == 0 {
			delete(c.requirements, q)
		}
	}
}

// sort replaces a record in the sorted list.
func (c *Cache) sort(before, after *store.Record) {
	if c.isShared {
		c.sorted, c.isShared = slices.Clone(c.sorted), false
	}
	if before != nil {
		i, found := slices.BinarySearchFunc(c.sorted, before, store.Compare)
		for found && i < len(c.sorted) && c.sorted[i] != before { // others may compare as equal
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
