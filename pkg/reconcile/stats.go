package reconcile

import (
	"maps"
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Stats counts what a Loop has done, and describes its last sync.
type Stats struct {
	// Requests counts requests for a sync by their reason.
	Requests map[string]int
	// Syncs is the number of syncs that ended, SyncTime the sum of their durations, and
	// Failures the number that failed.
	Syncs    int
	SyncTime time.Duration
	Failures int
	// FullSyncs counts comparisons of the whole table.
	FullSyncs int
	// Repairs counts differences that were repaired, by the kind of the object.
	Repairs map[string]int
	// RepairTime is the sum of the durations of syncs that repaired something.
	// RepairsWithin[i] is how many of these syncs took at most RepairTimes[i]; its last
	// element counts all of them.
	RepairTime    time.Duration
	RepairsWithin [len(RepairTimes) + 1]int
	// RepairLoops counts how often another program kept changing the table.
	RepairLoops int
	// Errors counts failed requests to the kernel, by the part of the node.
	Errors map[string]int
	// LostEvents counts how often notifications of the kernel or of inotify were lost.
	LostEvents int
	// UntranslatedFlows counts deleted flows that had begun while rules were missing.
	UntranslatedFlows int
	// EgressRemovedFlows counts deleted flows whose egress address was removed.
	EgressRemovedFlows int
	// Removed counts attachments that stale-attachment cleanup removed. Restored counts
	// removed attachments that it restored because their container exists.
	Removed, Restored int

	// Started is when the running sync started; zero between syncs.
	Started time.Time
	// LastProgress is when a sync last finished a part of its work.
	LastProgress time.Time
	// LastSync is when a sync last ended without an error.
	LastSync time.Time
	// Problem is the error of the last sync; empty if it succeeded.
	Problem string
	// Drift is the number of differences that the last sync could not repair.
	Drift int
	// Attachments and Policies are the numbers of ready attachments and of different
	// policies in use, as of the last sync.
	Attachments, Policies int
	// MissingEgress lists the egress addresses that policies name and the node did not
	// have at the last sync.
	MissingEgress []ruleset.MissingEgress
}

// RepairTimes are the upper bounds of the histogram of repair durations.
var RepairTimes = [...]time.Duration{
	5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, time.Second, 5 * time.Second,
}

// countRepair counts a sync that repaired these differences.
func (s *Stats) countRepair(changes []nft.Difference, took time.Duration) {
	for _, c := range changes {
		s.Repairs[string(c.Kind)]++
	}
	s.RepairTime += took
	for i, t := range RepairTimes {
		if took <= t {
			s.RepairsWithin[i]++
		}
	}
	s.RepairsWithin[len(RepairTimes)]++
}

// maxPartTime is how long one part of a sync may take. On a slow node the first sync of
// tens of thousands of attachments takes longer, but no part of it does.
const maxPartTime = 30 * time.Second

// IsStuck reports whether the running sync makes no progress.
func (s Stats) IsStuck(now time.Time) bool {
	return !s.Started.IsZero() && now.Sub(s.Started) > maxPartTime && now.Sub(s.LastProgress) > maxPartTime
}

// Stats returns a copy of the statistics.
func (l *Loop) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.stats
	out.MissingEgress = slices.Clone(l.stats.MissingEgress)
	out.Requests, out.Repairs, out.Errors = maps.Clone(l.stats.Requests), maps.Clone(l.stats.Repairs), maps.Clone(l.stats.Errors)
	return out
}

// updateStats changes the statistics.
func (l *Loop) updateStats(change func(*Stats)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.stats)
}

// markProgress notes that a sync has finished a part of its work.
func (l *Loop) markProgress() { l.updateStats(func(s *Stats) { s.LastProgress = time.Now() }) }

// setDrift sets the number of differences that could not be repaired.
func (l *Loop) setDrift(n int) { l.updateStats(func(s *Stats) { s.Drift = n }) }

// countError counts a failed request to the kernel.
func (l *Loop) countError(part string) { l.updateStats(func(s *Stats) { s.Errors[part]++ }) }
