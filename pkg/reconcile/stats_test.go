package reconcile

import (
	"testing"
	"time"
)

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
