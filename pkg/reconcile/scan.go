package reconcile

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// maxElementsPerFill is the number of elements that one transaction adds if many are
// missing. It bounds memory: the message takes some 300 bytes for each element.
const maxElementsPerFill = 2048

// hasManyRecords reports whether there are too many records to make the complete table,
// which takes about a kilobyte for each. Then elements are compared and added set by set.
func (l *Loop) hasManyRecords() bool { return len(l.deps.Records.Snapshot().Records) > maxComplete }

// setOf returns a live set with the elements of all attachments that are ready.
func (l *Loop) setOf(name string) ruleset.Set {
	records := l.deps.Records.Snapshot().Records
	s, _ := ruleset.Fill(name, len(records), func(yield func(masq.Attachment, func(netip.Addr) bool) bool) {
		for _, r := range records {
			if !isReady(r) {
				continue
			}
			a := r.Attachment
			a.Policy = l.activePolicy(a.Policy)
			if !yield(a, func(addr netip.Addr) bool { return l.owns(r.Key, addr) }) {
				return
			}
		}
	})
	return s
}

// owns reports whether an attachment is the latest ready one with an address.
func (l *Loop) owns(k masq.Key, addr netip.Addr) bool {
	for _, r := range slices.Backward(l.deps.Records.claimsOf(ruleset.Subject{Address: addr})) {
		if isReady(r) {
			return r.Key == k
		}
	}
	return true // the records changed meanwhile
}

// fill adds the elements of all records to live sets that were created empty.
func (l *Loop) fill(node NodeConfig) error {
	ready, _ := l.skeleton(node)
	for _, name := range ready.LiveSets() {
		if left, err := l.addAll(name, l.setOf(name).Elements); err != nil {
			return err
		} else if len(left) > 0 {
			l.compareAll()
		}
	}
	return nil
}

// addAll adds elements to a live set in several transactions. It returns the elements of
// transactions that met a conflict: the caller judges each of these.
func (l *Loop) addAll(set string, all []ruleset.Element) (left []ruleset.Element, err error) {
	for chunk := range slices.Chunk(all, maxElementsPerFill) {
		add := make([]ruleset.LiveElement, 0, len(chunk))
		for _, e := range chunk {
			add = append(add, ruleset.LiveElement{Set: set, Element: e})
		}
		large, err := l.deps.Rules.Edit(add, nil, 0)
		switch {
		case errors.Is(err, nft.ErrConflict), errors.Is(err, nft.ErrStructure):
			left = append(left, chunk...)
		case err != nil:
			return left, err
		}
		if large {
			l.compareAll()
		}
		l.markProgress()
	}
	return left, nil
}

// scan compares the elements of all live sets and returns the keys that differ. If many
// elements of a set are missing, it adds them at once and returns them as added. One set
// is in memory at a time. Without a desired table there is no set.
func (l *Loop) scan(node NodeConfig) (keys []elementKey, added []nft.Difference, err error) {
	ready, _ := l.skeleton(node)
	for _, name := range ready.LiveSets() {
		k, a, err := l.scanSet(name)
		keys, added = append(keys, k...), append(added, a...)
		if err != nil {
			l.countError("rules")
			return keys, added, err
		}
	}
	return keys, added, nil
}

// scanSet is scan for one set.
func (l *Loop) scanSet(name string) (keys []elementKey, added []nft.Difference, err error) {
	s := l.setOf(name)
	found, complete, err := l.deps.Rules.Scan(ruleset.Table{Sets: []ruleset.Set{s}})
	l.markProgress()
	if err != nil {
		return nil, nil, err
	}
	if !complete {
		l.compareAll()
	}
	missing := map[string]bool{}
	for _, c := range found {
		if c.Reason == masq.Missing {
			missing[c.Object] = true
		}
	}
	if len(missing) >= maxElementsPerEdit && complete {
		add := slices.DeleteFunc(s.Elements, func(e ruleset.Element) bool { return !missing[e.Key] })
		left, err := l.addAll(name, add)
		if err != nil {
			return nil, nil, err
		}
		for _, e := range left {
			delete(missing, e.Key)
		}
	} else {
		missing = nil
	}
	for _, c := range found {
		if c.Reason == masq.Missing && missing[c.Object] {
			added = append(added, c)
		} else {
			keys = append(keys, elementKey{c.Parent, c.Object})
		}
	}
	return keys, added, nil
}
