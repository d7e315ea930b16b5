package install

import (
	"testing"
	"time"
)

// TestPace checks that repeated changes are restored more and more slowly, and a single
// change at once.
func TestPace(t *testing.T) {
	var p pace
	now := time.Unix(0, 0)
	if due := p.afterEvent(now); due.Sub(now) != eventDelay {
		t.Errorf("the installation after the first event waits %s", due.Sub(now))
	}
	var waits []time.Duration
	changes := 0
	for start := now; now.Sub(start) < 2*time.Minute; changes++ {
		due := p.afterEvent(now)
		waits = append(waits, due.Sub(now))
		now = due
		p.changed(now)
	}
	if waits[1] != minDelay || waits[3] > time.Second || waits[len(waits)-1] != maxDelay || changes > 20 || !p.isRepairLoop() {
		t.Errorf("%d changes in 2 minutes, after %v", changes, waits)
	}
	now = now.Add(calmPeriod + time.Second)
	if due := p.afterEvent(now); due.Sub(now) != eventDelay {
		t.Errorf("after a calm period it waits %s", due.Sub(now))
	}
	p.changed(now)
	if p.isRepairLoop() || p.delay != minDelay {
		t.Errorf("after a calm period the next one waits %s", p.delay)
	}
}
