package leasehistory

import (
	"net/netip"
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// removal is the removal of an attachment that had an address.
type removal struct {
	addr netip.Addr
	key  masq.Key
}

// update adds the leases of new records, and marks the leases of removed ones.
func (h *History) update(records []*store.Record) {
	now := time.Now()
	current := make(map[*store.Record]bool, len(records))
	for _, r := range records {
		current[r] = true
		if h.known[r] {
			continue
		}
		whole, found, err := h.source.Read(r.Key)
		if err != nil || !found {
			whole = *r // without its pod
		}
		h.add(&whole, now)
	}
	h.markRemoved(current)
	h.known = current
}

// add adds the leases of a record.
func (h *History) add(r *store.Record, now time.Time) {
	optedOut := r.Policy != nil && r.Policy.EgressDirect
	for _, a := range r.Addresses {
		all := h.leases[a]
		if n := len(all); n > 0 && all[n-1].Key == r.Key {
			last := &all[n-1]
			last.Pod, last.removed, last.OptedOut = r.Pod, false, optedOut
			continue
		}
		all = append(all, Lease{
			Key: r.Key, Pod: r.Pod, OptedOut: optedOut,
			since: now.Add(-max(0, now.Sub(r.Created))),
		})
		h.leases[a] = all[max(0, len(all)-maxLeases):]
	}
}

// markRemoved marks the leases of known records that are not current, and forgets the
// earliest removals beyond maxRemoved.
func (h *History) markRemoved(current map[*store.Record]bool) {
	var keys map[masq.Key]bool // of current: a rewritten record is a new pointer with its old key
	for r := range h.known {
		if current[r] {
			continue
		}
		if keys == nil {
			keys = make(map[masq.Key]bool, len(current))
			for x := range current {
				keys[x.Key] = true
			}
		}
		if keys[r.Key] {
			continue
		}
		for _, a := range r.Addresses {
			for i := range h.leases[a] {
				if l := &h.leases[a][i]; l.Key == r.Key {
					l.removed = true
				}
			}
			h.removed = append(h.removed, removal{a, r.Key})
		}
	}
	excess := max(0, len(h.removed)-maxRemoved)
	for _, x := range h.removed[:excess] {
		left := slices.DeleteFunc(h.leases[x.addr], func(l Lease) bool { return l.removed && l.Key == x.key })
		if h.leases[x.addr] = left; len(left) == 0 {
			delete(h.leases, x.addr)
		}
	}
	h.removed = slices.Delete(h.removed, 0, excess)
}
