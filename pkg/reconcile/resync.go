package reconcile

import (
	"errors"
	"math/rand/v2"
	"time"
)

// untilResync returns the time until the next resync. It varies by a tenth, so that nodes
// that were started together do not resync together.
func (l *Loop) untilResync() time.Duration {
	interval := l.deps.ResyncInterval
	if configured := l.deps.Node().Resync; configured != 0 {
		interval = configured
	}
	return interval - interval/10 + rand.N(interval/5+1)
}

// resync finds changes that no event reported. It reads the configuration and the records
// again, removes stale records, and requests a sync.
func (l *Loop) resync() {
	l.deps.ReloadConfiguration()
	records := l.deps.Records.records
	if err := errors.Join(l.deps.Records.Reload(), records.Tidy(l.deps.CleanupGrace), records.TidyRefusals(time.Now())); err != nil {
		l.deps.Log.Error("cannot read the records again, or remove stale files in their directory", "err", err)
	}
	l.cleanUpNamespaces()
	l.cleanUp()
	l.RequestSync("resync", Soon, Forwarding|AllLinks|Generation)
}

// cleanUp removes stale attachments.
func (l *Loop) cleanUp() {
	records := l.deps.Records.Snapshot().Records
	if !l.cleanupDue && !l.cleanup.isDue(records) {
		return
	}
	removed, restored, err := l.cleanup.run(time.Now(), records)
	l.updateStats(func(s *Stats) {
		s.Removed += removed
		s.Restored += restored
	})
	if l.cleanupDue = err != nil; l.cleanupDue {
		l.countError("links")
		l.deps.Log.Error("cannot find out which attachments are stale", "err", err)
	}
}

// cleanUpNamespaces removes the records of network namespaces that no longer exist.
func (l *Loop) cleanUpNamespaces() {
	if err := l.namespaces.run(time.Now()); err != nil {
		l.deps.Log.Error("cannot remove the records of network namespaces that no longer exist", "err", err)
	}
}
