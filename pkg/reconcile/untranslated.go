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

// owedFlows are the flows that remain to be checked because they may have begun while
// rules were missing, regardless of which program restored the rules.
type owedFlows struct {
	all  bool // the flows of all attachments and sources
	some map[ruleset.Subject]bool
	// newcomers are attachments that were not there before: there may have been traffic
	// before there were rules for it.
	newcomers map[masq.Key]*store.Record
}

// newcomer notes a new attachment. If there are many, as at start, the flows of all
// attachments are searched, so that no list of newcomers is kept.
func (o *owedFlows) newcomer(r *store.Record) {
	if o.all = o.all || len(o.newcomers) >= manyMissing; o.all {
		o.newcomers = nil
		return
	}
	if o.newcomers == nil {
		o.newcomers = map[masq.Key]*store.Record{}
	}
	o.newcomers[r.Key] = r
}

// suspect notes an element whose attachment may have been without it.
func (o *owedFlows) suspect(k elementKey) {
	if o.some == nil {
		o.some = map[ruleset.Subject]bool{}
	}
	o.some[ruleset.SubjectOf(k.key)] = true
}

func (l *Loop) owesAll() { l.last.flows.all = true }

// owes notes what was different: packets may have passed untranslated, unless it was an
// unexpected object. An unexpected rule can have been first.
func (l *Loop) owes(changes []nft.Difference) {
	if len(changes) >= manyMissing {
		l.owesAll()
		return
	}
	for _, c := range changes {
		switch {
		case c.Reason == masq.Unexpected && c.Kind != nft.KindRule:
		case c.Kind == nft.KindElement && ruleset.SubjectOf(c.Object) != (ruleset.Subject{}):
			l.last.flows.suspect(elementKey{c.Parent, c.Object})
		default:
			l.owesAll()
		}
	}
}

// scope returns whose flows are to be looked for. What was only suspected counts if the
// record says that the attachment is in place.
func (l *Loop) scope(node Node) Whose {
	o := l.last.flows
	if o.all {
		return l.everything(node)
	}
	var w Whose
	seen := map[masq.Key]bool{}
	add := func(r *store.Record) {
		if isSettled(r) && !seen[r.Key] {
			seen[r.Key] = true
			w.Origins = append(w.Origins, l.originOf(r))
		}
	}
	for _, r := range o.newcomers {
		add(r)
	}
	for of := range o.some {
		for _, r := range l.Records.Claims(of) {
			add(r)
		}
	}
	if !slices.Equal(l.last.sources, node.Sources.Prefixes) {
		w.Sources = node.Sources
	}
	return w
}

func (l *Loop) everything(node Node) Whose {
	records := l.Records.Snapshot().Records
	w := Whose{make([]Origin, 0, len(records)), node.Sources}
	for _, r := range records {
		if isSettled(r) {
			w.Origins = append(w.Origins, l.originOf(r))
		}
	}
	return w
}

func (l *Loop) originOf(r *store.Record) Origin { return Origin{r, l.active(r.Policy)} }

// syncFlows deletes flows that began without translation, and flows whose egress
// address is gone. It reports whether it checked any flows.
func (l *Loop) syncFlows(ctx context.Context, node Node) (did bool, err error) {
	used, inUse := l.usedPolicies(node)
	scope, gap := l.scope(node), 0
	if !scope.none() {
		if gap, err = l.Untranslated(ctx, scope); err != nil {
			l.failed("flows")
			return true, fmt.Errorf("flows that began without translation: %w", err)
		}
		did = true
	}
	if gap > 0 {
		l.Log.Info("flows had begun without translation, and were deleted to begin again", "flows", gap)
	}
	l.mu.Lock()
	l.stats.UntranslatedFlows += gap
	l.stats.Policies = len(used)
	l.mu.Unlock()
	l.last.flows, l.last.sources = owedFlows{}, node.Sources.Prefixes

	lost, missing, snat := l.last.egress.lost(used, inUse, l.last.snat)
	l.last.snat = snat
	l.reportMissing(missing)
	// An address may be back, or be declared as routed to the node.
	gone := slices.DeleteFunc(append(l.last.gone, lost...), func(a netip.Addr) bool { return snat[a] })
	l.last.gone = gone
	stranded := 0
	if len(gone) > 0 {
		if stranded, err = l.EgressRemoved(ctx, l.everything(node), gone); err != nil {
			l.failed("flows")
			return true, fmt.Errorf("flows whose egress address is gone: %w", err)
		}
		did = true
	}
	l.last.gone = nil

	l.mu.Lock()
	l.stats.EgressRemovedFlows += stranded
	l.mu.Unlock()
	if stranded > 0 {
		l.Log.Info("flows had left with an address that is gone, and were deleted to begin again", "flows", stranded, "addresses", gone)
	}
	return did, nil
}

// usedPolicies counts the attachments that are in place. It returns their policies, and
// the address families that each policy is used for, keyed by policy ID.
func (l *Loop) usedPolicies(node Node) (used []*masq.Policy, inUse map[string]map[masq.Family]bool) {
	in, _ := l.representatives(node)
	n := 0
	for u, count := range l.Records.Uses() {
		if u.Ready {
			n += count
		}
	}
	l.mu.Lock()
	l.stats.Attachments = n
	l.mu.Unlock()
	return policies(in, node), ruleset.FamiliesOf(in, node.Sources)
}
