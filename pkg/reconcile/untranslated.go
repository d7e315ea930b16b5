package reconcile

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// flowSearch collects the attachments whose flows the sync has to search, because these
// may have begun while rules were missing. It does not matter which program restored the
// rules.
type flowSearch struct {
	all      bool                       // every attachment and source
	subjects map[ruleset.Subject]bool   // addresses and links that lacked an element
	added    map[masq.Key]*store.Record // new attachments: packets may have come before the rules
}

// addAttachment adds a new attachment. If there are many, as at start, the flows of all
// attachments are searched, so that the list stays short.
func (s *flowSearch) addAttachment(r *store.Record) {
	if s.all = s.all || len(s.added) >= manyMissing; s.all {
		s.added = nil
		return
	}
	if s.added == nil {
		s.added = map[masq.Key]*store.Record{}
	}
	s.added[r.Key] = r
}

// addElement adds the attachment of an element that may have been missing.
func (s *flowSearch) addElement(k elementKey) {
	if s.subjects == nil {
		s.subjects = map[ruleset.Subject]bool{}
	}
	s.subjects[ruleset.SubjectOf(k.key)] = true
}

// addChanges adds the attachments that differences concern. An unexpected object does not
// let packets pass untranslated, except a rule: it may have come before the managed ones.
func (s *flowSearch) addChanges(changes []nft.Difference) {
	if len(changes) >= manyMissing {
		s.all = true
		return
	}
	for _, c := range changes {
		switch {
		case c.Reason == masq.Unexpected && c.Kind != nft.KindRule:
		case c.Kind == nft.KindElement && ruleset.SubjectOf(c.Object) != (ruleset.Subject{}):
			s.addElement(elementKey{c.Parent, c.Object})
		default:
			s.all = true
		}
	}
}

// searchScope returns the flowScope of the search: only ready attachments.
func (l *Loop) searchScope(node NodeConfig) flowScope {
	search := l.last.search
	if search.all {
		return l.wholeScope(node)
	}
	var scope flowScope
	seen := map[masq.Key]bool{}
	add := func(r *store.Record) {
		if isReady(r) && !seen[r.Key] {
			seen[r.Key] = true
			scope.origins = append(scope.origins, l.originOf(r))
		}
	}
	for _, r := range search.added {
		add(r)
	}
	for of := range search.subjects {
		for _, r := range l.deps.Records.claimsOf(of) {
			add(r)
		}
	}
	if !slices.Equal(l.last.sources, node.Sources.Prefixes) {
		scope.sources = node.Sources
	}
	return scope
}

// wholeScope returns the flowScope of all ready attachments and of the sources.
func (l *Loop) wholeScope(node NodeConfig) flowScope {
	records := l.deps.Records.Snapshot().Records
	scope := flowScope{make([]origin, 0, len(records)), node.Sources}
	for _, r := range records {
		if isReady(r) {
			scope.origins = append(scope.origins, l.originOf(r))
		}
	}
	return scope
}

func (l *Loop) originOf(r *store.Record) origin { return origin{r, l.activePolicy(r.Policy)} }

// syncFlows deletes untranslated flows, and flows whose egress address was removed. It
// reports whether it searched any flows.
func (l *Loop) syncFlows(ctx context.Context, node NodeConfig) (searched bool, err error) {
	used, families := l.usedPolicies(node)
	deleted := 0
	if scope := l.searchScope(node); !scope.isEmpty() {
		searched = true
		if deleted, err = l.deleteUntranslated(ctx, scope); err != nil {
			l.countError("flows")
			return searched, fmt.Errorf("delete untranslated flows: %w", err)
		}
	}
	if deleted > 0 {
		l.deps.Log.Info("deleted flows that had begun while rules were missing; their next packets are translated", "flows", deleted)
	}
	l.updateStats(func(s *Stats) {
		s.UntranslatedFlows += deleted
		s.Policies = len(used)
	})
	l.last.search, l.last.sources = flowSearch{}, node.Sources.Prefixes

	lost, missing, inUse := l.last.egress.lostAddresses(used, families, l.last.egressInUse)
	l.last.egressInUse = inUse
	l.reportMissing(missing)
	// Flows of addresses that are in use stay: an address may be present again, or be declared
	// as routed to the node.
	removed := slices.DeleteFunc(append(l.last.removed, lost...), func(a netip.Addr) bool { return inUse[a] })
	l.last.removed = removed // repeated by the next sync if this one fails
	if len(removed) == 0 {
		l.last.removed = nil
		return searched, nil
	}
	deleted, err = l.deleteEgressRemoved(ctx, l.wholeScope(node), removed)
	if err != nil {
		l.countError("flows")
		return true, fmt.Errorf("delete the flows of removed egress addresses: %w", err)
	}
	l.last.removed = nil
	l.updateStats(func(s *Stats) { s.EgressRemovedFlows += deleted })
	if deleted > 0 {
		l.deps.Log.Info("deleted flows whose egress address was removed", "flows", deleted, "addresses", removed)
	}
	return true, nil
}

// usedPolicies counts the ready attachments. It returns their policies, and by policy ID
// the address families of their sources.
func (l *Loop) usedPolicies(node NodeConfig) (used []*masq.Policy, families map[string]map[masq.Family]bool) {
	ready, _ := l.representatives(node)
	n := 0
	for q, count := range l.deps.Records.allRequirements() {
		if q.isReady {
			n += count
		}
	}
	l.updateStats(func(s *Stats) { s.Attachments = n })
	return distinctPolicies(ready, node), ruleset.FamiliesOf(ready, node.Sources)
}
