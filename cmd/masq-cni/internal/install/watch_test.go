package install

import (
	"testing"
	"time"
)

// Who keeps undoing what is done is answered ever more slowly, and anybody else at once.
func TestPace(t *testing.T) {
	var p pace
	now := time.Unix(0, 0)
	if due := p.after(now); due.Sub(now) != gather {
		t.Errorf("the first event is looked at after %s", due.Sub(now))
	}
	var waits []time.Duration
	changes := 0
	for start := now; now.Sub(start) < 2*time.Minute; changes++ {
		due := p.after(now)
		waits = append(waits, due.Sub(now))
		now = due
		p.changed(now)
	}
	if waits[1] != leastDelay || waits[3] > time.Second || waits[len(waits)-1] != mostDelay || changes > 20 || !p.fighting() {
		t.Errorf("%d changes in 2 minutes, after %v", changes, waits)
	}
	now = now.Add(calm + time.Second)
	if due := p.after(now); due.Sub(now) != gather {
		t.Errorf("after a calm it takes %s", due.Sub(now))
	}
	p.changed(now)
	if p.fighting() || p.delay != leastDelay {
		t.Errorf("after a calm the next waits %s", p.delay)
	}
}
