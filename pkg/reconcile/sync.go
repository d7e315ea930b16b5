package reconcile

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/pkg/nft"
)

// sync runs one sync and counts its result. worked is false if nothing had changed;
// repaired is true if the node differed from the desired state.
func (l *Loop) sync(ctx context.Context, started time.Time, r request) (worked, repaired bool) {
	worked, changes, err := l.syncNode(ctx, r.scope)
	took := time.Since(started)
	if err == nil && l.deps.Synced != nil {
		l.deps.Synced(l.last.egress.found)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.stats
	s.Started = time.Time{}
	s.SyncTime += took
	s.Syncs++
	if err != nil {
		worked = true
		s.Failures++
		l.pending.merge(r) // the next sync repeats it
		if problem := err.Error(); problem != s.Problem {
			s.Problem = problem // a repeated error is logged once
			l.deps.Log.Error("sync failed: cannot bring the kernel into agreement with the records", "err", err)
		}
	} else {
		if s.Problem != "" {
			l.deps.Log.Info("sync succeeded again")
		}
		s.Problem, s.LastSync = "", time.Now()
	}
	if len(changes) == 0 {
		return worked, false
	}
	s.countRepair(changes, took)
	logRepairs(l.deps.Log, changes, took)
	return true, true
}

// work is what a sync has to compare in the table.
type work struct {
	full          bool // the whole table
	configuration bool // the whole table, because the configuration has changed
	structure     bool // everything but the elements of attachments
	requirements  bool // the structure, because the records require another one
	// byOthers reports that another program may have changed the structure. Then differences
	// are repairs, and not changes that the records or the configuration require.
	byOthers bool
	// unexplained has the elements that other programs changed and no record explains.
	// recordElements has the elements of records that changed.
	unexplained, recordElements map[elementKey]bool
	// egress has the egress addresses with which the previous sync made the table.
	egress egress
}

// syncNode brings the kernel into agreement with the records and the configuration. It
// returns the differences that it repaired, even if it also returns an error. These do not
// include changes that are due to changed records or a changed configuration.
func (l *Loop) syncNode(ctx context.Context, scope Scope) (worked bool, repaired []nft.Difference, err error) {
	l.cleanupDue = l.cleanupDue || scope&StaleAttachments != 0
	events, node := l.takeTransactions(), l.deps.Node()
	w := work{
		full:      l.last.full || l.last.isInitial(),
		structure: l.last.structure, byOthers: l.last.structure,
		unexplained: map[elementKey]bool{}, recordElements: map[elementKey]bool{},
	}
	for _, k := range l.last.elements {
		w.unexplained[k] = true
	}
	l.last.full, l.last.structure, l.last.elements = false, false, nil
	l.explain(events, &w)
	l.takeRecordChanges(&w)
	if scope&Generation != 0 {
		if err := l.verifyGeneration(&w); err != nil {
			l.last.full = true
			return true, nil, err
		}
	}
	w.egress = l.last.egress
	w.configuration = node.Version != l.last.node.Version || l.last.isInitial()
	// Events of addresses and routes have forwarding in their scope.
	if w.full || w.structure || w.requirements || scope&Forwarding != 0 || w.configuration {
		changed, err := l.refreshEgress(node)
		if err != nil {
			l.last.full = true
			return true, nil, err
		}
		w.structure = w.structure || changed
	}
	worked = w.full || w.structure || w.configuration || len(w.unexplained)+len(w.recordElements) > 0
	if worked {
		repaired, err = l.syncTable(node, &w)
		l.last.search.addChanges(repaired)
		if err != nil {
			l.last.full = true // explained changes may not have been repaired
			return true, repaired, err
		}
		l.setDrift(0)
	}
	l.markProgress()
	changes, err := l.syncHost(scope, l.deps.Records.Snapshot().Records)
	repaired = append(repaired, changes...)
	l.markProgress()
	searched, failed := l.syncFlows(ctx, node)
	return worked || searched || len(repaired) > 0, repaired, errors.Join(err, failed)
}

// syncTable makes the table the desired state.
func (l *Loop) syncTable(node NodeConfig, w *work) (repaired []nft.Difference, err error) {
	first, asOf := l.last.isInitial(), uint32(0)
	all := w.full || w.configuration // a policy decides which sets its attachments are in
	if all {
		// The plugin writes a record before its rules. So records that are read after the
		// generation cover every attachment in the ruleset of that generation.
		if asOf, err = l.deps.Rules.Generation(); err != nil {
			l.countError("rules")
			return nil, err
		}
		if err := l.deps.Records.Refresh(); err != nil {
			return nil, err
		}
		l.takeRecordChanges(w)
		if w.requirements { // also of records that have come since the addresses were looked up
			if _, err := l.refreshEgress(node); err != nil {
				return nil, err
			}
		}
		l.updateStats(func(s *Stats) { s.FullSyncs++ })
	}
	byOthers := w.byOthers || w.full
	if w.configuration && !first && byOthers {
		// Only a comparison with the previous configuration shows changes by other programs.
		// Flows that began under that configuration must not be deleted.
		now := l.last.egress
		l.last.egress = w.egress
		repaired, err = l.compare(l.last.node, asOf, true, w.full)
		l.last.egress = now
		if err != nil {
			return repaired, err
		}
	}
	if w.configuration {
		l.last.node, l.last.active, l.last.complete = node, nil, nil
	}
	changes, err := l.repairElements(node, slices.Collect(maps.Keys(w.unexplained)))
	if repaired = append(repaired, changes...); err != nil {
		return repaired, err
	}
	// An element that no record needs any more would keep its chain in use, so elements
	// come before the structure.
	desired, err := l.repairElements(node, slices.Collect(maps.Keys(w.recordElements)))
	if err != nil {
		return repaired, err
	}
	changes, err = l.compare(node, asOf, w.structure || all, all)
	if first || !w.configuration && byOthers {
		repaired = append(repaired, changes...)
	} else {
		desired = append(desired, changes...)
	}
	if err == nil && len(desired) > 0 {
		l.deps.Log.Info("applied changes of the configuration or the records", "changes", len(desired))
	}
	if err == nil && all {
		l.last.generation = asOf
	}
	return repaired, err
}

// compare compares the structure of the table, all its elements, or both, and repairs the
// differences.
func (l *Loop) compare(node NodeConfig, asOf uint32, structure, elements bool) (all []nft.Difference, err error) {
	if structure {
		if all, err = l.syncStructure(node, asOf); err != nil {
			return all, err
		}
	}
	if !elements {
		return all, nil
	}
	keys, added, err := l.scan(node)
	all = append(all, added...)
	if err != nil {
		return all, err
	}
	changes, err := l.repairElements(node, keys)
	if all = append(all, changes...); err != nil || !l.last.structure {
		return all, err
	}
	// Unexpected elements were removed, and with them the last use of some object.
	l.last.structure = false
	changes, err = l.syncStructure(node, 0)
	return append(all, changes...), err
}

// repairElements makes elements the desired state. If their set or chain is missing, it
// repairs the structure first.
func (l *Loop) repairElements(node NodeConfig, keys []elementKey) ([]nft.Difference, error) {
	all, err := l.syncElements(keys)
	if errors.Is(err, nft.ErrStructure) {
		var structure, more []nft.Difference
		if structure, err = l.syncStructure(node, 0); err == nil {
			more, err = l.syncElements(keys)
		}
		all = slices.Concat(all, structure, more)
	}
	if err != nil {
		l.countError("rules")
		l.setDrift(len(keys))
	}
	return all, err
}
