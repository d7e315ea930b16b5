package reconcile

import (
	"maps"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// maxTransactions is the number of transactions that are kept for the next sync. If there
// are more, the whole table is compared.
const maxTransactions = 4096

// transactions are the transactions of the ruleset that are not explained yet, by this
// process and by others.
type transactions struct {
	all  []nft.Transaction
	lost bool // some are missing
}

// Transaction notes a transaction of the kernel's ruleset and requests a sync if it may
// concern the table. It never blocks.
func (l *Loop) Transaction(t nft.Transaction) {
	l.mu.Lock()
	if len(l.events.all) >= maxTransactions {
		l.events = transactions{lost: true}
	}
	l.events.all = append(l.events.all, t)
	many := len(l.events.all) >= maxTransactions/2
	l.mu.Unlock()
	switch {
	case t.Ours() && t.Plugin():
		l.RequestSync("plugin", Soon, Changes)
	case t.Ours():
		l.RequestSync("rules", Urgent, Changes)
	case many, t.Published:
		l.RequestSync("rules", Soon, Changes)
	}
}

// takeTransactions returns the transactions to explain, and clears them.
func (l *Loop) takeTransactions() transactions {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.events
	l.events = transactions{}
	return out
}

// isAfter reports whether generation a is later than b. The numbers wrap around.
func isAfter(a, b uint32) bool { return int32(a-b) > 0 }

// next returns the generation after g. The kernel leaves out 0.
func next(g uint32) uint32 { return max(1, g+1) }

// mayExpose reports whether packets may have passed untranslated because another program
// changed the structure, even if it has been repaired since. The plugin is excluded: it
// changes only the parts of the structure that its attachments need.
func mayExpose(t *nft.Transaction) bool { return t.Exposing && !t.Own && !t.Plugin() }

// explain compares transactions with the records. A change that the records desire is
// explained; any other change becomes work.
func (l *Loop) explain(events transactions, w *work) {
	if events.lost {
		w.full, w.byOthers = true, true
		l.last.search.all = true
	}
	last := l.last.generation
	for i := range events.all {
		t := &events.all[i]
		if mayExpose(t) {
			l.last.search.all = true
		}
		// A full comparison reads the ports to reserve before it reads the generation. So it may
		// have missed ports that were published in between.
		w.structure = w.structure || t.Published
		if last == 0 || !isAfter(t.Generation, last) {
			continue // the table was compared since
		}
		if t.Generation != next(last) { // transactions are missing
			w.full, w.byOthers = true, true
			l.last.search.all = true
		}
		last = t.Generation
		switch {
		case t.Own:
		case t.Bulk:
			w.full, w.byOthers = true, w.byOthers || !t.Plugin()
			l.last.search.all = l.last.search.all || !t.Plugin()
		case t.Structure:
			w.structure, w.byOthers = true, w.byOthers || !t.Plugin()
		}
		l.explainElements(t, w)
	}
	l.last.generation = last
}

// explainElements compares the elements of a transaction with the records.
func (l *Loop) explainElements(t *nft.Transaction, w *work) {
	for _, e := range t.Elements {
		k := elementKey{e.Set, e.Key}
		d := l.desiredOf(ruleset.SubjectOf(e.Key))
		_, isDesired := d.ready[k]
		switch {
		case !e.Deleted && d.allows(e.LiveElement), e.Deleted && !isDesired:
			continue
		case e.Deleted:
			l.last.search.addElement(k)
		}
		w.unexplained[k] = true
	}
}

// takeRecordChanges adds the elements of changed records to the work.
func (l *Loop) takeRecordChanges(w *work) {
	structure := false
	first := l.last.isInitial() // all elements are compared with the table
	for _, c := range l.deps.Records.takeChanges() {
		for _, k := range l.last.kept[c.digest] {
			w.recordElements[k] = true
		}
		delete(l.last.kept, c.digest)
		before, required := requirementOf(c.before)
		after, requires := requirementOf(c.after)
		structure = structure || before != after || required != requires
		if isReady(c.after) {
			l.last.search.addAttachment(c.after)
		}
		if requires && !after.isReady {
			continue // the plugin is adding or removing the attachment
		}
		for _, r := range []*store.Record{c.before, c.after} {
			if r == nil || first {
				continue
			}
			for _, e := range l.elementsOf(r, ruleset.OwnsAll) {
				w.recordElements[elementKey{e.Set, e.Key}] = true
			}
		}
	}
	w.requirements = structure && l.requirementsChanged() || w.requirements
	w.structure = w.structure || w.requirements
}

// requirementsChanged reports whether the records require another structure than at the last
// call. Requirements of ready attachments and of any attachments count separately.
func (l *Loop) requirementsChanged() bool {
	now := map[requirement]bool{}
	for q := range l.deps.Records.allRequirements() {
		now[q] = true
		q.isReady = false
		now[q] = true
	}
	changed := !maps.Equal(now, l.last.requirements)
	l.last.requirements = now
	return changed
}

// verifyGeneration compares the kernel's generation with the generation of the last
// explained transaction. Notifications may still arrive, so a difference counts only if the next
// call finds it too.
func (l *Loop) verifyGeneration(w *work) error {
	now, err := l.deps.Rules.Generation()
	if err != nil {
		l.countError("rules")
		return err
	}
	if was := l.last.unverified; was != 0 && isAfter(was, l.last.generation) {
		w.full, w.byOthers = true, true
		l.last.search.all = true
	}
	if l.last.unverified = 0; now != l.last.generation {
		l.last.unverified = now
	}
	return nil
}
