package reconcile

import (
	"context"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"
)

// Loop brings the node into agreement with its records and its configuration. Run runs
// it; any goroutine may call the other methods.
type Loop struct {
	deps       Deps
	links      linkRepair
	cleanup    cleanup
	namespaces namespaceCleanup

	// Only the goroutine of Run uses these.
	last       lastSync
	cleanupDue bool // a link was deleted since the last stale-attachment cleanup
	budget     budget

	wake   chan struct{} // receives a value when a sync is requested
	urgent chan struct{} // receives a value when the request is more urgent than Soon

	mu      sync.Mutex
	pending request
	removed []netip.Addr // addresses that the node lost since the last sync
	stats   Stats
	events  transactions
}

// New returns a Loop, or an error if a dependency is missing.
func New(d Deps) (*Loop, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	records := d.Records.records
	l := &Loop{
		deps:       d,
		links:      linkRepair{host: d.Host, log: d.Log},
		cleanup:    cleanup{records: records, evidence: d.Evidence, grace: d.CleanupGrace, log: d.Log},
		namespaces: namespaceCleanup{records: records, state: d.NetNSState, grace: d.CleanupGrace, log: d.Log},
		wake:       make(chan struct{}, 1),
		urgent:     make(chan struct{}, 1),
		stats:      Stats{Requests: map[string]int{}, Repairs: map[string]int{}, Errors: map[string]int{}},
	}
	l.last.egressInUse = map[netip.Addr]bool{}
	for _, a := range d.PreviousEgress {
		l.last.egressInUse[a] = true
	}
	return l, nil
}

// AddressesRemoved notes addresses that the node lost. The caller requests a sync.
func (l *Loop) AddressesRemoved(addresses []netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removed = append(l.removed, addresses...)
}

// EventsLost notes that notifications were lost, and requests a sync of everything.
func (l *Loop) EventsLost() {
	l.mu.Lock()
	l.stats.LostEvents++
	l.events = transactions{lost: true}
	l.mu.Unlock()
	l.RequestSync("lost", Urgent, Everything)
}

const (
	// memoryReleaseDelay is the time without a sync after which unused memory is returned
	// to the node.
	memoryReleaseDelay = time.Second
	// minRetryDelay is the time until a failed sync is repeated. It doubles with each
	// further failure, up to maxRetryDelay.
	minRetryDelay = 100 * time.Millisecond
	maxRetryDelay = 10 * time.Second
)

// Run runs syncs until the context ends. The first one starts at once.
func (l *Loop) Run(ctx context.Context) {
	l.cleanUpNamespaces()
	l.RequestSync("start", Urgent, Everything)
	resync, idle, retry := time.NewTimer(l.untilResync()), time.NewTimer(memoryReleaseDelay), time.NewTimer(0)
	defer resync.Stop()
	defer idle.Stop()
	retry.Stop()
	retryDelay := minRetryDelay
	var repairs repairLoop
	for {
		select {
		case <-ctx.Done():
			return
		case <-idle.C:
			debug.FreeOSMemory()
			continue
		case <-retry.C:
			l.RequestSync("retry", Soon, Changes)
			continue
		case <-resync.C:
			l.resync()
			resync.Reset(l.untilResync())
			continue
		case <-l.wake:
		}
		started, used := time.Now(), l.deps.CPUTime()
		worked, repaired := l.sync(ctx, started, l.takeRequest(started))
		// The time that a sync waits is not work: the node may be busy, or another program may
		// hold the lock of transactions.
		work := min(time.Since(started), l.deps.CPUTime()-used)
		if worked {
			idle.Reset(memoryReleaseDelay)
		}
		if l.Stats().Problem == "" {
			retryDelay = minRetryDelay
		} else {
			retry.Reset(retryDelay)
			retryDelay = min(2*retryDelay, maxRetryDelay)
		}
		if repaired && repairs.add(started, time.Now()) {
			l.reportRepairLoop()
		}
		if !l.pause(ctx, work) {
			return
		}
	}
}

// takeRequest returns what the sync that starts now has to do.
func (l *Loop) takeRequest(now time.Time) request {
	l.mu.Lock()
	r := l.pending
	l.pending = request{}
	l.stats.Started = now
	l.last.removed = append(l.last.removed, l.removed...)
	l.removed = nil
	l.mu.Unlock()
	select {
	case <-l.urgent: // the sync that starts now includes that request
	default:
	}
	return r
}
