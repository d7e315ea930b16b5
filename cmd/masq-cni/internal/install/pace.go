package install

import "time"

const (
	minDelay = 100 * time.Millisecond
	maxDelay = 10 * time.Second
	// calmPeriod is how long nothing may change until the next change waits minDelay again.
	calmPeriod = time.Minute
)

// pace limits how often install restores its changes. If another program removes them each
// time, the runtime would have to read its configuration without end.
type pace struct {
	delay      time.Duration
	lastChange time.Time
	earliest   time.Time // earliest time of the next installation
}

// changed delays the next installation, twice as long as the last one.
func (p *pace) changed(now time.Time) {
	if p.lastChange.IsZero() || now.Sub(p.lastChange) > calmPeriod {
		p.delay = minDelay
	} else {
		p.delay = min(2*p.delay, maxDelay)
	}
	p.lastChange, p.earliest = now, now.Add(p.delay)
}

// isRepairLoop reports whether another program repeatedly removes what install writes.
func (p *pace) isRepairLoop() bool { return p.delay == maxDelay }

// afterEvent returns when to install after an event.
func (p *pace) afterEvent(now time.Time) time.Time {
	next := now.Add(eventDelay)
	if p.earliest.After(next) {
		return p.earliest
	}
	return next
}
