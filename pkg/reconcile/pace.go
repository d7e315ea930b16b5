package reconcile

import (
	"context"
	"time"
)

const (
	// pauseFactor is the length of the pause after a sync, in multiples of its work: syncs
	// take at most a fifth of a core in the long run, even if containers come and go all
	// the time or another program flushes the ruleset in a loop.
	pauseFactor = 4
	// maxPause bounds the pause, so that the last repair of a repair loop is not late.
	maxPause = 150 * time.Millisecond
	// workBudget is the work that urgent requests may cause without pauses: some hundred
	// repairs of a thousand attachments.
	workBudget = 10 * time.Second
)

// budget bounds the work without pauses. debt is the work that was not yet followed by a
// pause.
type budget struct {
	debt time.Duration
	at   time.Time
}

// spend adds the work of a sync.
func (b *budget) spend(now time.Time, work time.Duration) {
	b.debt, b.at = b.remaining(now)+work, now
}

// remaining returns the debt after the time since the last sync, which counts as a pause.
func (b *budget) remaining(now time.Time) time.Duration {
	return max(0, b.debt-now.Sub(b.at)/(pauseFactor+1))
}

// isLeft reports whether urgent work may be done without a pause.
func (b *budget) isLeft(now time.Time) bool { return b.remaining(now) < workBudget }

// pause waits after a sync, until the next one may start. It returns false if the context
// ended.
func (l *Loop) pause(ctx context.Context, work time.Duration) bool {
	l.budget.spend(time.Now(), work)
	urgent, end := l.urgent, time.NewTimer(min(pauseFactor*work, maxPause))
	defer end.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-end.C:
			return true
		case <-urgent:
			if l.isInteractive() || l.budget.isLeft(time.Now()) {
				return true
			}
			urgent = nil // the budget is spent: the request waits for the end of the pause
		}
	}
}

// isInteractive reports whether a person waits for the next sync.
func (l *Loop) isInteractive() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pending.urgency == Interactive
}
