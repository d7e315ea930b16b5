package reconcile

import "time"

const (
	// restOf is how many times as long as a look the rest after it is: looks get a
	// fifth of a core at most in the long run. Containers that come and go, and an
	// outside program that flushes in a loop, cost no more.
	restOf = 4
	// restMost bounds a rest, so that a storm's last repair is not late.
	restMost = 150 * time.Millisecond
	// burst is the work that may be done without a rest where it is urgent: some
	// hundred repairs of a thousand attachments.
	burst = 10 * time.Second
)

// budget is the work that was done and not yet rested for.
type budget struct {
	debt time.Duration
	at   time.Time
}

func (b *budget) spend(now time.Time, work time.Duration) {
	b.debt, b.at = b.owes(now)+work, now
}

func (b *budget) owes(now time.Time) time.Duration {
	return max(0, b.debt-now.Sub(b.at)/(restOf+1))
}

// left reports whether there may be more work without a rest.
func (b *budget) left(now time.Time) bool { return b.owes(now) < burst }
