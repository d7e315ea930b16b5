package reconcile

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// work is what a sync has to do.
type work struct {
	full      bool // compare the whole table
	changed   bool // the configuration is another one
	structure bool // compare its structure
	uses      bool // the records need another structure
	// foreign says that another program may have changed the structure: a difference is
	// not what the records or the configuration newly desire.
	foreign bool
	// suspects are elements that other programs added or deleted and that the records
	// did not explain. asked are the elements of records that changed.
	suspects, asked map[elementKey]bool
	// egress is what the previous sync made the table with.
	egress egress
}

// sync brings the kernel into agreement with the records and the configuration. It
// returns the differences that it repaired, even if it also returns an error. What a
// changed record or configuration newly desires is no difference.
func (l *Loop) syncNode(ctx context.Context, scope Scope) (worked bool, drift []nft.Difference, err error) {
	l.links = l.links || scope&StaleAttachments != 0
	heard, node := l.take(), l.Node()
	w := work{suspects: map[elementKey]bool{}, asked: map[elementKey]bool{}}
	w.full = l.last.full || l.last.generation == 0
	w.structure, w.foreign = l.last.structure, l.last.structure
	for _, k := range l.last.elements {
		w.suspects[k] = true
	}
	l.last.full, l.last.structure, l.last.elements = false, false, nil
	l.explain(heard, &w)
	l.noteRecords(&w)
	if scope&Generation != 0 {
		if err := l.verify(&w); err != nil {
			l.last.full = true
			return true, nil, err
		}
	}
	// Addresses come and go with events that have forwarding compared.
	w.egress = l.last.egress
	if w.full || w.structure || w.uses || scope&Forwarding != 0 || node.Version != l.last.node.Version {
		changed, err := l.refreshEgress(node)
		if err != nil {
			l.last.full = true
			return true, nil, err
		}
		w.structure = w.structure || changed
	}
	w.changed = node.Version != l.last.node.Version || l.last.generation == 0
	worked = w.full || w.structure || w.changed || len(w.suspects)+len(w.asked) > 0
	if worked {
		drift, err = l.syncTable(node, &w)
		l.owes(drift)
		if err != nil {
			l.last.full = true // explained changes may not have been repaired
			return true, drift, err
		}
		l.drift(0)
	}
	l.advance()
	repaired, err := l.repairNode(scope, l.Records.Snapshot().Records)
	drift = append(drift, repaired...)
	l.advance()
	did, failed := l.syncFlows(ctx, node)
	return worked || did || len(drift) > 0, drift, errors.Join(err, failed)
}

// syncTable makes the table match the desired state.
func (l *Loop) syncTable(node Node, w *work) (drift []nft.Difference, err error) {
	first, asOf := l.last.generation == 0, uint32(0)
	all := w.full || w.changed // a policy decides in which sets its attachments are
	if all {
		// The plugin writes a record before the rules: whatever the ruleset of this
		// generation has for an attachment, its record is there.
		if asOf, err = l.Rules.Generation(); err != nil {
			l.failed("rules")
			return drift, err
		}
		if err := l.Records.Refresh(); err != nil {
			return drift, err
		}
		l.noteRecords(w)
		l.mu.Lock()
		l.stats.FullSyncs++
		l.mu.Unlock()
	}
	drifted := w.foreign || w.full
	if w.changed && !first && drifted {
		// Changes by another program show only in a comparison with the previous
		// configuration. Flows that began under it must not be deleted.
		now := l.last.egress
		l.last.egress = w.egress
		drift, err = l.compare(l.last.node, asOf, true, w.full)
		l.last.egress = now
		if err != nil {
			return drift, err
		}
	}
	if w.changed {
		l.last.node, l.last.active, l.last.complete = node, nil, nil
	}
	found, err := l.elements(node, slices.Collect(maps.Keys(w.suspects)))
	if drift = append(drift, found...); err != nil {
		return drift, err
	}
	// What no record needs any more would keep its chain in use.
	asked, err := l.elements(node, slices.Collect(maps.Keys(w.asked)))
	if err != nil {
		return drift, err
	}
	found, err = l.compare(node, asOf, w.structure || all, all)
	if first || !w.changed && drifted {
		drift = append(drift, found...)
	} else {
		asked = append(asked, found...)
	}
	if err == nil && len(asked) > 0 {
		l.Log.Info("the kernel has what is asked for now", "changes", len(asked))
	}
	if err == nil && all {
		l.last.generation = asOf
	}
	return drift, err
}

// compare compares the structure of the table and all its elements, or one of these,
// and repairs what differs.
func (l *Loop) compare(node Node, asOf uint32, structure, elements bool) (all []nft.Difference, err error) {
	if structure {
		if all, err = l.syncStructure(node, asOf); err != nil {
			return all, err
		}
	}
	if elements {
		keys, added, err := l.scan(node)
		all = append(all, added...)
		if err != nil {
			return all, err
		}
		found, err := l.elements(node, keys)
		if all = append(all, found...); err != nil {
			return all, err
		}
	}
	if elements && l.last.structure {
		// What was in use by unexpected elements may not be any more.
		l.last.structure = false
		found, err := l.syncStructure(node, 0)
		return append(all, found...), err
	}
	return all, nil
}

// elements repairs elements, and the structure first where they have no place.
func (l *Loop) elements(node Node, keys []elementKey) ([]nft.Difference, error) {
	all, err := l.syncElements(keys)
	if errors.Is(err, nft.ErrStructure) {
		var found, more []nft.Difference
		if found, err = l.syncStructure(node, 0); err == nil {
			more, err = l.syncElements(keys)
		}
		all = slices.Concat(all, found, more)
	}
	if err != nil {
		l.failed("rules")
		l.drift(len(keys))
	}
	return all, err
}

// explain judges transactions by the records. Changes that the records desire are in
// order; the others become work.
func (l *Loop) explain(heard transactions, w *work) {
	if heard.lost {
		w.full, w.foreign = true, true
		l.owesAll()
	}
	last := l.last.generation
	for i := range heard.all {
		t := &heard.all[i]
		if exposes(t) {
			l.owesAll()
		}
		// The ports to reserve are read before the generation that the table was last
		// compared at. So that comparison may have missed this change of them.
		w.structure = w.structure || t.Published
		if last == 0 || !isAfter(t.Generation, last) {
			continue // compared since
		}
		if t.Generation != next(last) {
			w.full, w.foreign = true, true
			l.owesAll() // whatever it was
		}
		last = t.Generation
		switch {
		case t.Own:
		case t.Bulk:
			w.full, w.foreign = true, w.foreign || !t.Plugin()
			if !t.Plugin() {
				l.owesAll()
			}
		case t.Structure:
			w.structure, w.foreign = true, w.foreign || !t.Plugin()
		}
		l.explainElements(t, w)
	}
	l.last.generation = last
}

// next is the generation that follows on another: 0 is left out.
func next(generation uint32) uint32 { return max(1, generation+1) }

func (l *Loop) explainElements(t *nft.Transaction, w *work) {
	for _, e := range t.Elements {
		k := elementKey{e.Set, e.Key}
		d := l.desiredOf(ruleset.SubjectOf(e.Key))
		_, wanted := d.ready[k]
		switch {
		case !e.Deleted && d.allows(e.LiveElement), e.Deleted && !wanted:
			continue
		case e.Deleted:
			l.last.flows.suspect(k)
		}
		w.suspects[k] = true
	}
}

// noteRecords takes the records that changed.
func (l *Loop) noteRecords(w *work) {
	structure := false
	first := l.last.generation == 0 // all elements are compared with the table
	for _, c := range l.Records.Changes() {
		for _, k := range l.last.spared[c.Digest] {
			w.asked[k] = true
		}
		delete(l.last.spared, c.Digest)
		_, needed := useOf(c.Before)
		u, needs := useOf(c.After)
		if before, _ := useOf(c.Before); before != u || needed != needs {
			structure = true
		}
		if isSettled(c.After) {
			l.last.flows.newcomer(c.After)
		}
		if needs && !u.Ready {
			continue // the plugin is at work on it
		}
		for _, r := range []*store.Record{c.Before, c.After} {
			if r == nil || first {
				continue
			}
			for _, e := range l.elementsOf(r, ruleset.Owned) {
				w.asked[elementKey{e.Set, e.Key}] = true
			}
		}
	}
	w.uses = structure && l.usesChanged() || w.uses
	w.structure = w.structure || w.uses
}

// usesChanged reports whether what the records need of the structure is other than at
// the time before: that of attachments that are in place, and that of all.
func (l *Loop) usesChanged() bool {
	uses := map[Use]bool{}
	for u := range l.Records.Uses() {
		uses[u] = true
		u.Ready = false
		uses[u] = true
	}
	same := maps.Equal(uses, l.last.uses)
	l.last.uses = uses
	return !same
}

// verify compares the kernel's generation with the explained one. Notifications may be
// on their way, so a difference counts only if the next call finds it too.
func (l *Loop) verify(w *work) error {
	now, err := l.Rules.Generation()
	if err != nil {
		l.failed("rules")
		return err
	}
	if was := l.last.unverified; was != 0 && isAfter(was, l.last.generation) {
		w.full, w.foreign = true, true
		l.owesAll()
	}
	if l.last.unverified = 0; now != l.last.generation {
		l.last.unverified = now
	}
	return nil
}
