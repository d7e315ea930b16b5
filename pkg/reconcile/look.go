package reconcile

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// logged is the number of differences that a repair's line of log names.
const logged = 5

// memory is what the last look knew.
type memory struct {
	agreed  agreement
	node    Node // the configuration that the kernel was made to have
	wanted  wanted
	records []*store.Record // the attachments whose flows were looked after, sorted
	sources []netip.Prefix  // likewise
	egress  egress
	snat    map[netip.Addr]bool // what policies name: true where flows leave with it
	// What is still to be done: the flows of a gap, and those of egress addresses
	// that are gone.
	owed bool
	gone []netip.Addr
}

// agreement is what a look depends on. As long as it stays the same there is
// nothing to find.
type agreement struct {
	records, node, egress uint64
	generation            uint32
}

// look compares everything, and mends it. worked is false where nothing had
// changed, so that there was nothing to compare; drifted is true where something was
// not as it had been made.
func (l *Loop) look(ctx context.Context, begun time.Time, what What) (worked, drifted bool) {
	worked, changes, err := l.mend(ctx, what)
	took := time.Since(begun)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Begun = time.Time{}
	l.stats.Looking += took
	l.stats.Ended++
	switch {
	case err != nil:
		worked = true
		l.stats.Failures++
		l.pending |= what // for the next one
		if problem := err.Error(); problem != l.stats.Problem {
			l.stats.Problem = problem // said once for each change of it
			l.Log.Error("cannot bring the kernel into agreement with the records", "err", err)
		}
	case l.stats.Problem != "":
		l.Log.Info("the kernel can be brought into agreement with the records again")
		fallthrough
	default:
		l.stats.Problem, l.stats.LastLook = "", time.Now()
	}
	if len(changes) == 0 {
		return worked, false
	}
	l.stats.repaired(took)
	var found []string
	for i, c := range changes {
		l.stats.Repairs[string(c.Kind)]++
		switch {
		case i < logged:
			found = append(found, c.String())
		case i == logged:
			found = append(found, fmt.Sprintf("and %d more", len(changes)-logged))
		}
	}
	l.Log.Info("repaired", "found", found, "took", took)
	return true, true
}

// mend returns what had drifted and was mended, also beside an error. What a changed
// configuration or record asks for is no drift.
func (l *Loop) mend(ctx context.Context, what What) (worked bool, changes []nft.Change, err error) {
	l.links = l.links || what&TheLinks != 0
	before := l.last.agreed
	all, node, changes, err := l.agree()
	if err != nil {
		return true, changes, err
	}
	if l.last.agreed == before && !l.last.owed && len(l.last.gone) == 0 {
		changes, err = l.repairNode(what, all.Records)
		return len(changes) > 0, changes, err
	}
	settled, _ := split(all.Records, node)
	used := policies(settled, node)
	l.mu.Lock()
	l.stats.Attachments, l.stats.Policies = len(settled), len(used)
	l.mu.Unlock()
	l.last.owed = l.last.owed || exposed(changes)
	repaired, err := l.repairNode(what, all.Records)
	changes = append(changes, repaired...)
	return true, changes, errors.Join(err, l.mendFlows(ctx, all.Records, Whose{settled, node.Sources}, used))
}

// newsMost is how often a look begins anew because a plugin was faster.
const newsMost = 100

// agree makes the kernel have what is asked for, unless it is known to, and returns
// what that is, and what had drifted.
func (l *Loop) agree() (all Snapshot, node Node, drift []nft.Change, err error) {
	for range newsMost {
		var now agreement
		if now, all, node, err = l.ask(); err != nil || now == l.last.agreed {
			return all, node, drift, err
		}
		var found []nft.Change
		found, err = l.mendRules(all, node, now)
		drift = append(drift, found...)
		if !errors.Is(err, nft.ErrNews) {
			break
		}
	}
	return all, node, drift, err
}

// ask returns what is wanted now, and what that depends on. The generation is asked for
// first: a plugin writes its record before its rules, so that none of the rules of
// that generation is without its record, however late the directory's events are.
func (l *Loop) ask() (now agreement, all Snapshot, node Node, err error) {
	if now.generation, err = l.Rules.Generation(); err != nil {
		l.failed("rules")
		return now, all, node, err
	}
	if now.generation != l.last.agreed.generation {
		if err := l.Refresh(); err != nil {
			return now, all, node, err
		}
	}
	all, node = l.Records(), l.Node()
	if err := l.last.egress.refresh(all, node, l.HasAddress); err != nil {
		l.failed("addresses")
		return now, all, node, err
	}
	now.records, now.node, now.egress = all.Version, node.Version, l.last.egress.version
	// Records that cannot be read are those of attachments that are there all the
	// same: better to repair the others than nothing.
	if all.Err != nil && len(all.Records) == 0 {
		return now, all, node, all.Err
	}
	if all.Err != nil && now.records != l.last.agreed.records {
		l.Log.Warn("some records cannot be read", "err", all.Err)
	}
	return now, all, node, nil
}

// mendRules makes the kernel have what is asked for now, and returns what had drifted
// from what was asked for before.
func (l *Loop) mendRules(all Snapshot, node Node, now agreement) (drift []nft.Change, err error) {
	before, asOf := l.last.agreed, now.generation
	known, touched := before != agreement{}, now.generation != before.generation
	if known && touched && now.node != before.node {
		// Somebody has changed something since: whether here is seen only beside the
		// configuration before. Flows that began under that one are to go on.
		if drift, asOf, err = l.apply(all, l.last.node, asOf); err != nil {
			return nil, err
		}
	}
	changes, generation, err := l.apply(all, node, asOf)
	if err != nil {
		return drift, err
	}
	if is, err := l.Rules.Generation(); err == nil && is != generation {
		// Somebody was at it meanwhile, and the notification of that may be missing.
		l.Look("rules", Now)
	}
	now.generation = generation
	l.last.agreed, l.last.node = now, node
	l.drift(0)
	if known && (!touched || now.node != before.node) {
		if len(changes) > 0 {
			l.Log.Info("the kernel has what is asked for now", "changes", len(changes))
		}
		return drift, nil
	}
	return changes, nil
}

// apply makes the kernel have what a configuration asks for, and returns what was
// different, and the generation up to which it is so.
func (l *Loop) apply(all Snapshot, node Node, asOf uint32) ([]nft.Change, uint32, error) {
	w := &l.last.wanted
	have := &l.last.egress
	if w.records != all.Version || w.node != node.Version || w.egress != have.version || len(w.want.Chains) == 0 {
		*w = wanted{records: all.Version, node: node.Version, egress: have.version}
		settled, moving := split(all.Records, node)
		if len(moving) > 0 {
			w.beside = ruleset.For(moving, ruleset.Sources{}, have.have)
		}
		// A node without attachments has no table, unless somebody is making one.
		if len(settled) > 0 || len(node.Sources.Prefixes) > 0 {
			w.want = ruleset.For(settled, node.Sources, have.have)
		}
	}
	want, beside := w.want, w.beside
	if len(all.Records) > kept {
		*w = wanted{}
	}
	changes, generation, err := l.Rules.ApplyBeside(want, beside, asOf)
	if err != nil && !errors.Is(err, nft.ErrNews) {
		l.failed("rules")
		l.drift(len(changes))
		l.last.agreed.generation = 0 // none is: all is compared again
	}
	return changes, generation, err
}

// wanted is the ruleset of the last look, so that a repair need not make it: as it
// takes 400 bytes for each attachment, only on nodes that are not crowded.
type wanted struct {
	records, node, egress uint64
	want, beside          ruleset.Table
}

// kept is the number of records up to which it is.
const kept = 5000

// mendForwarding makes sure that answers find their way back to the links that are
// ours.
func (l *Loop) mendForwarding(records []*store.Record) (changes []nft.Change, err error) {
	for _, f := range masq.Families {
		own := func(r *store.Record) bool { // what others wired is theirs
			return r.Ready && !r.Chained && slices.ContainsFunc(r.Addresses, func(a netip.Addr) bool { return masq.FamilyOf(a) == f })
		}
		if !slices.ContainsFunc(records, own) {
			continue
		}
		names := sync.OnceValue(func() map[string]bool {
			all := map[string]bool{}
			for _, r := range records {
				if own(r) {
					all[r.HostName()] = true
				}
			}
			return all
		})
		put, failed := l.Forward(func(name string) bool { return names()[name] }, []masq.Family{f})
		for _, setting := range put {
			changes = append(changes, nft.Change{Kind: forwarding, Reason: nft.Changed, Name: setting, Detail: "turned off"})
		}
		err = errors.Join(err, failed)
	}
	if err != nil {
		l.failed(string(forwarding))
	}
	return changes, err
}

// forwarding is the kind of change that is the host's.
const forwarding nft.Kind = "forwarding"

// mendFlows deletes flows that began without translation, and those whose egress
// address is gone.
func (l *Loop) mendFlows(ctx context.Context, records []*store.Record, everybody Whose, used []*masq.Policy) error {
	suspects, known := l.newcomers(records, everybody)
	if l.last.owed {
		suspects = everybody
	}
	gap := 0
	if !suspects.none() {
		var err error
		l.last.owed = true // where it fails
		if gap, err = l.Untranslated(ctx, suspects); err != nil {
			l.failed("flows")
			return fmt.Errorf("flows that began without translation: %w", err)
		}
	}
	l.last.owed, l.last.records, l.last.sources = false, known, everybody.Sources.Prefixes

	lost, missing, snat := l.last.egress.lost(used, l.last.snat)
	l.last.snat = snat
	l.reportMissing(missing)
	// An address may be back, or be declared as routed to the node.
	gone := slices.DeleteFunc(append(l.last.gone, lost...), func(a netip.Addr) bool { return snat[a] })
	l.last.gone = gone
	stranded := 0
	if len(gone) > 0 {
		var err error
		if stranded, err = l.Stranded(ctx, everybody, gone); err != nil {
			l.failed("flows")
			return fmt.Errorf("flows whose egress address is gone: %w", err)
		}
	}
	l.last.gone = nil

	l.mu.Lock()
	l.stats.Gap += gap
	l.stats.Stranded += stranded
	l.mu.Unlock()
	if gap > 0 {
		l.Log.Info("flows had begun without translation, and were deleted to begin again", "flows", gap)
	}
	if stranded > 0 {
		l.Log.Info("flows had left with an address that is gone, and were deleted to begin again", "flows", stranded, "addresses", gone)
	}
	return nil
}

// newcomers returns what the last look did not know: there may have been traffic
// before there were rules for it.
func (l *Loop) newcomers(records []*store.Record, everybody Whose) (fresh Whose, known []*store.Record) {
	known = make([]*store.Record, 0, len(records))
	before := l.last.records
	for _, r := range records {
		if !isSettled(r) {
			continue
		}
		for len(before) > 0 && before[0] != r && store.Compare(before[0], r) < 0 {
			before = before[1:]
		}
		if len(before) == 0 || before[0] != r {
			fresh.Attachments = append(fresh.Attachments, everybody.Attachments[len(known)])
		}
		known = append(known, r)
	}
	if !slices.Equal(l.last.sources, everybody.Sources.Prefixes) {
		fresh.Sources = everybody.Sources
	}
	return fresh, known
}

func isSettled(r *store.Record) bool { return r.Policy != nil && r.Ready }

// split tells attachments that are in place from those that the plugin is adding
// or removing right now. Those that have the node's policy get the one in force.
func split(records []*store.Record, node Node) (settled, moving []masq.Attachment) {
	settled = make([]masq.Attachment, 0, len(records))
	for _, r := range records {
		switch {
		case isSettled(r):
			settled = append(settled, r.Attachment)
		case r.Policy != nil:
			moving = append(moving, r.Attachment)
		}
	}
	node.apply(settled)
	node.apply(moving)
	return settled, moving
}

// policies returns those in use, each once.
func policies(all []masq.Attachment, node Node) []*masq.Policy {
	var out []*masq.Policy
	seen, ids := map[*masq.Policy]bool{}, map[string]bool{}
	add := func(p *masq.Policy) {
		if seen[p] {
			return
		}
		seen[p] = true
		if id := p.ID(); !ids[id] {
			ids[id] = true
			out = append(out, p)
		}
	}
	for _, a := range all {
		add(a.Policy)
	}
	if len(node.Sources.Prefixes) > 0 {
		add(&node.Sources.Policy)
	}
	return out
}

// exposed reports whether packets may have passed untranslated because of what was
// different. Foreign elements and sets do not do that; a foreign rule can.
func exposed(changes []nft.Change) bool {
	for _, c := range changes {
		if c.Reason != nft.Unexpected || c.Kind == nft.KindRule {
			return true
		}
	}
	return false
}
