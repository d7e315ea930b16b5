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

// Links restores the node's side of the links that the plugin made: what an event
// names at once, and everything at start, after lost events and at each resync. What
// other plugins made is theirs.
type Links struct {
	// All and Some are Repair and RepairIndexes of a veth.Conn.
	All  func([]veth.Pair) (repaired, left []veth.Difference, err error)
	Some func(indexes []int, pairOf func(index int, identity string) (veth.Pair, bool)) (repaired, left []veth.Difference, err error)
	Log  *slog.Logger

	mu      sync.Mutex
	damaged map[int]int // index of an interface -> how often it had no record
	left    map[string][]veth.Difference
}

// unknownMax is how often an interface without a known record is compared: the record
// may come later than the event.
const unknownMax = 3

// Damaged notes interfaces of the node, by index, that lost something. A sync has to
// be requested.
func (l *Links) Damaged(indexes []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.damaged == nil {
		l.damaged = map[int]int{}
	}
	for _, i := range indexes {
		l.damaged[i] = 0
	}
}

// Left returns the differences that cannot be repaired, by identity. Links that are
// missing are not among them: stale-attachment cleanup sees to those.
func (l *Links) Left() []veth.Difference {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []veth.Difference
	for _, identity := range slices.Sorted(maps.Keys(l.left)) {
		out = append(out, l.left[identity]...)
	}
	return out
}

// repairAll compares the links of all records.
func (l *Links) repairAll(records []*store.Record) ([]nft.Difference, error) {
	var pairs []veth.Pair
	for _, r := range records {
		if isWired(r) {
			pairs = append(pairs, pairOf(r))
		}
	}
	l.mu.Lock()
	l.damaged = nil
	l.mu.Unlock()
	repaired, left, err := l.All(pairs)
	l.note(nil, left)
	return linkChanges(repaired), err
}

// repairDamaged repairs the links that events named.
func (l *Links) repairDamaged(records []*store.Record) ([]nft.Difference, error) {
	l.mu.Lock()
	damaged := l.damaged
	l.damaged = nil
	l.mu.Unlock()
	if len(damaged) == 0 {
		return nil, nil
	}
	byIdentity := sync.OnceValue(func() map[string]*store.Record {
		all := make(map[string]*store.Record, len(records))
		for _, r := range records {
			if !r.Chained {
				all[r.Identity()] = r
			}
		}
		return all
	})
	compared := []string{}
	wait := map[int]int{}
	repaired, left, err := l.Some(slices.Sorted(maps.Keys(damaged)), func(index int, identity string) (veth.Pair, bool) {
		r, tries := byIdentity()[identity], damaged[index]
		if r != nil && isWired(r) {
			compared = append(compared, identity)
			return pairOf(r), true
		}
		// The plugin is at work on it, or its record is not known yet.
		if r != nil || tries < unknownMax {
			wait[index] = tries + 1
		}
		return veth.Pair{}, false
	})
	l.note(compared, left)
	if err != nil {
		wait = damaged
	}
	l.again(wait)
	return linkChanges(repaired), err
}

// again keeps interfaces for the next sync, unless a new event has named them.
func (l *Links) again(wait map[int]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for index, tries := range wait {
		if l.damaged == nil {
			l.damaged = map[int]int{}
		}
		if _, ok := l.damaged[index]; !ok {
			l.damaged[index] = tries
		}
	}
}

// note keeps the remaining differences of the attachments that were compared (nil: of
// every attachment), and logs the new ones.
func (l *Links) note(compared []string, left []veth.Difference) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.left
	if compared == nil {
		l.left = map[string][]veth.Difference{}
	} else {
		l.left = maps.Clone(before)
		if l.left == nil {
			l.left = map[string][]veth.Difference{}
		}
		for _, identity := range compared {
			delete(l.left, identity)
		}
	}
	for _, d := range left {
		if d.Kind == veth.KindInterface && d.Reason == masq.Missing {
			continue
		}
		if !slices.Contains(before[d.Identity], d) {
			l.Log.Warn("a link is not as ADD made it, and cannot be repaired", "attachment", d.Identity, "difference", d.String())
		}
		l.left[d.Identity] = append(l.left[d.Identity], d)
	}
}

// isWired reports whether the link is ours and complete.
func isWired(r *store.Record) bool { return r.Ready && !r.Chained }

func pairOf(r *store.Record) veth.Pair { return veth.PairOf(r.Attachment, r.Wiring()) }

// linkChanges converts differences to changes, which is what a repair reports.
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

// repairNode restores the node's settings other than the rules: forwarding, and the
// links of containers.
func (l *Loop) repairNode(scope Scope, records []*store.Record) (changes []nft.Difference, err error) {
	if scope&Forwarding != 0 {
		changes, err = l.mendForwarding(records)
	}
	if l.Links == nil {
		return changes, err
	}
	repair := l.Links.repairDamaged
	if scope&AllLinks != 0 {
		repair = l.Links.repairAll
	}
	repaired, failed := repair(records)
	if failed != nil {
		l.failed("links")
	}
	return append(changes, repaired...), errors.Join(err, failed)
}
