package reconcile

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// maxUnknownTries is how many syncs try to find the record of a damaged interface: the
// record may become known after the interface's event.
const maxUnknownTries = 3

// linkRepair restores the node's ends of the links that the plugin made. After an event it
// compares the links that the event names. At start, after lost events and at each resync it
// compares all of them. It does not change links that other plugins made.
type linkRepair struct {
	host Host
	log  *slog.Logger

	mu sync.Mutex
	// damaged has the indexes of interfaces that events named, and how often each was
	// tried without a known record.
	damaged map[int]int
	left    map[string][]veth.Difference // differences that cannot be repaired, by identity
}

// LinksDamaged notes interfaces of the node, by index, that lost an address, a route or a
// setting. The caller requests a sync.
func (l *Loop) LinksDamaged(indexes []int) {
	l.links.mu.Lock()
	defer l.links.mu.Unlock()
	if l.links.damaged == nil {
		l.links.damaged = map[int]int{}
	}
	for _, i := range indexes {
		l.links.damaged[i] = 0
	}
}

// UnrepairedLinks returns the differences of links that cannot be repaired, sorted by
// identity. It omits missing links, which stale-attachment cleanup handles.
func (l *Loop) UnrepairedLinks() (out []veth.Difference) {
	l.links.mu.Lock()
	defer l.links.mu.Unlock()
	for _, identity := range slices.Sorted(maps.Keys(l.links.left)) {
		out = append(out, l.links.left[identity]...)
	}
	return out
}

// repairAll compares and repairs the links of all records.
func (r *linkRepair) repairAll(records []*store.Record) ([]nft.Difference, error) {
	var pairs []veth.Pair
	for _, rec := range records {
		if hasManagedLink(rec) {
			pairs = append(pairs, pairOf(rec))
		}
	}
	r.mu.Lock()
	r.damaged = nil
	r.mu.Unlock()
	repaired, left, err := r.host.Repair(pairs)
	r.report(nil, left)
	return linkChanges(repaired), err
}

// repairDamaged compares and repairs the links that events named.
func (r *linkRepair) repairDamaged(records []*store.Record) ([]nft.Difference, error) {
	r.mu.Lock()
	damaged := r.damaged
	r.damaged = nil
	r.mu.Unlock()
	if len(damaged) == 0 {
		return nil, nil
	}
	byIdentity := sync.OnceValue(func() map[string]*store.Record {
		all := make(map[string]*store.Record, len(records))
		for _, rec := range records {
			if !rec.Chained {
				all[rec.Identity()] = rec
			}
		}
		return all
	})
	compared := []string{}
	retry := map[int]int{}
	repaired, left, err := r.host.RepairIndexes(slices.Sorted(maps.Keys(damaged)), func(index int, identity string) (veth.Pair, bool) {
		rec, tries := byIdentity()[identity], damaged[index]
		if rec != nil && hasManagedLink(rec) {
			compared = append(compared, identity)
			return pairOf(rec), true
		}
		// The plugin is changing the attachment, or its record is not known yet.
		if rec != nil || tries < maxUnknownTries {
			retry[index] = tries + 1
		}
		return veth.Pair{}, false
	})
	r.report(compared, left)
	if err != nil {
		retry = damaged
	}
	r.retry(retry)
	return linkChanges(repaired), err
}

// retry keeps interfaces for the next sync, unless a new event has named them.
func (r *linkRepair) retry(indexes map[int]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for index, tries := range indexes {
		if r.damaged == nil {
			r.damaged = map[int]int{}
		}
		if _, ok := r.damaged[index]; !ok {
			r.damaged[index] = tries
		}
	}
}

// report stores the remaining differences of the attachments that were compared, and logs
// the new ones. If compared is nil, all attachments were compared.
func (r *linkRepair) report(compared []string, left []veth.Difference) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.left
	r.left = map[string][]veth.Difference{}
	if compared != nil {
		maps.Copy(r.left, before)
		for _, identity := range compared {
			delete(r.left, identity)
		}
	}
	for _, d := range left {
		if d.Kind == veth.KindInterface && d.Reason == masq.Missing {
			continue
		}
		if !slices.Contains(before[d.Identity], d) {
			r.log.Warn("a link differs from what ADD made, and cannot be repaired", "attachment", d.Identity, "difference", d.String(), "remedy", "see masq-cni inspect drift")
		}
		r.left[d.Identity] = append(r.left[d.Identity], d)
	}
}

// hasManagedLink reports whether the plugin made the attachment's link, and has finished.
func hasManagedLink(r *store.Record) bool { return r.Ready && !r.Chained }

func pairOf(r *store.Record) veth.Pair { return veth.PairOf(r.Attachment, r.Link()) }

// linkChanges converts differences of links to changes, the form in which repairs are
// logged and counted.
func linkChanges(all []veth.Difference) (out []nft.Difference) {
	for _, d := range all {
		c := nft.Difference{Kind: nft.Kind(d.Kind), Reason: masq.Missing, Object: d.Name()}
		if d.Reason == masq.Changed {
			c.Reason, c.Detail = masq.Changed, d.Found()
		}
		out = append(out, c)
	}
	return out
}

// syncHost restores forwarding and the links of containers.
func (l *Loop) syncHost(scope Scope, records []*store.Record) (changes []nft.Difference, err error) {
	if scope&Forwarding != 0 {
		changes, err = l.syncForwarding(records)
	}
	repair := l.links.repairDamaged
	if scope&AllLinks != 0 {
		repair = l.links.repairAll
	}
	repaired, failed := repair(records)
	if failed != nil {
		l.countError("links")
	}
	return append(changes, repaired...), errors.Join(err, failed)
}
