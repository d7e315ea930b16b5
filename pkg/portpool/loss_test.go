package portpool

import (
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// TestLosses distinguishes causes, adds the CPUs, and handles 32-bit counters that wrap.
func TestLosses(t *testing.T) {
	noPort := conntrack.Statistics{InsertFailed: 7, Drop: 7}
	full := conntrack.Statistics{Drop: 5, EarlyDrop: 2}
	longBucket := conntrack.Statistics{InsertFailed: 3, ChainTooLong: 3}
	addedByNetlink := conntrack.Statistics{InsertFailed: 4}
	for _, tt := range []struct {
		all  []conntrack.Statistics
		want Losses
	}{
		{nil, Losses{}},
		{[]conntrack.Statistics{noPort}, Losses{NoPort: 7}},
		{[]conntrack.Statistics{full}, Losses{NoRoom: 5, Evicted: 2}},
		{[]conntrack.Statistics{longBucket}, Losses{}},
		{[]conntrack.Statistics{addedByNetlink}, Losses{NoPort: 4}},
		{[]conntrack.Statistics{noPort, full, longBucket, noPort}, Losses{NoPort: 14, NoRoom: 5, Evicted: 2}},
		{[]conntrack.Statistics{conntrack.Sum([]conntrack.Statistics{noPort, full, longBucket})}, Losses{NoPort: 7, NoRoom: 5, Evicted: 2}},
	} {
		if got := LossesOf(tt.all); got != tt.want {
			t.Errorf("%+v: %+v, not %+v", tt.all, got, tt.want)
		}
	}
	const last = 1<<32 - 1
	var m LossTracker
	begin := time.Unix(1e9, 0)
	if got := m.Add(begin, []conntrack.Statistics{{CPU: 0, InsertFailed: last, Drop: last}, {CPU: 1, Drop: 9, EarlyDrop: last}}); got != (Losses{}) {
		t.Errorf("before the first reading: %+v", got)
	}
	got := m.Add(begin.Add(time.Second), []conntrack.Statistics{{CPU: 0, InsertFailed: 3, Drop: 4}, {CPU: 1, Drop: 10, EarlyDrop: 1}})
	if want := (Losses{NoPort: 4, NoRoom: 2, Evicted: 2}); got != want {
		t.Errorf("%+v, not %+v", got, want)
	}
}

// TestRecentLoss: a loss is recent from its first packet until five minutes after its last.
func TestRecentLoss(t *testing.T) {
	var m LossTracker
	begin := time.Unix(1e9, 0)
	at := func(after time.Duration, drop uint64) RecentLoss {
		m.Add(begin.Add(after), []conntrack.Statistics{{Drop: drop}})
		if m.NoPort() != (RecentLoss{}) || m.Evicted() != (RecentLoss{}) {
			t.Errorf("after %s: %+v, %+v", after, m.NoPort(), m.Evicted())
		}
		return m.NoRoom()
	}
	for _, tt := range []struct {
		after time.Duration
		drop  uint64
		want  RecentLoss
	}{
		{0, 1000, RecentLoss{}}, // since the namespace began
		{time.Minute, 1000, RecentLoss{}},
		{2 * time.Minute, 1003, RecentLoss{3, begin.Add(time.Minute), begin.Add(2 * time.Minute)}},
		{6 * time.Minute, 1004, RecentLoss{4, begin.Add(time.Minute), begin.Add(6 * time.Minute)}},
		{10 * time.Minute, 1004, RecentLoss{4, begin.Add(time.Minute), begin.Add(6 * time.Minute)}},
		{11 * time.Minute, 1004, RecentLoss{}},
		{30 * time.Minute, 1004, RecentLoss{}},
		{31 * time.Minute, 1005, RecentLoss{1, begin.Add(30 * time.Minute), begin.Add(31 * time.Minute)}},
		{time.Hour, 1006, RecentLoss{1, begin.Add(31 * time.Minute), begin.Add(time.Hour)}},
	} {
		if got := at(tt.after, tt.drop); got != tt.want {
			t.Errorf("after %s: %+v, not %+v", tt.after, got, tt.want)
		}
	}
}
