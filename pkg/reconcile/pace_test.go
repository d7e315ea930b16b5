package reconcile

import (
	"testing"
	"time"
)

func TestBudget(t *testing.T) {
	var b budget
	now := time.Unix(0, 0)
	if !b.isLeft(now) {
		t.Error("nothing is left at the beginning")
	}
	b.spend(now, workBudget-time.Millisecond)
	if !b.isLeft(now) {
		t.Error("nothing is left although a millisecond is")
	}
	b.spend(now, 2*time.Millisecond)
	if b.isLeft(now) {
		t.Error("something is left after more work than the budget")
	}
	if later := now.Add((pauseFactor + 1) * 2 * time.Millisecond); !b.isLeft(later) {
		t.Error("a pause does not restore the budget")
	}
	if b.remaining(now.Add(time.Hour)) != 0 {
		t.Error("a long pause leaves a debt")
	}
}

// TestIsStuck: a sync is stuck if it makes no progress, however long it takes.
func TestIsStuck(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, tt := range []struct {
		name              string
		started, progress time.Time
		after             time.Duration
		want              bool
	}{
		{"between syncs", time.Time{}, start, time.Hour, false},
		{"a short sync", start, time.Time{}, maxPartTime, false},
		{"a long sync without progress", start, start, maxPartTime + 1, true},
		{"a long sync with progress", start, start.Add(time.Hour), time.Hour + maxPartTime, false},
		{"progress that stopped", start, start.Add(time.Hour), time.Hour + maxPartTime + 1, true},
	} {
		if got := (Stats{Started: tt.started, LastProgress: tt.progress}).IsStuck(start.Add(tt.after)); got != tt.want {
			t.Errorf("%s: stuck %t", tt.name, got)
		}
	}
}
