package reconcile

import (
	"maps"
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Stats is what has come of the looks so far.
type Stats struct {
	Looks    map[string]int // by what set them off
	Repairs  map[string]int // by the kind of what was different
	Storms   int            // times that repairs followed on one another without end
	Failures int            // looks that ended with an error
	Errors   map[string]int // of the kernel, by the part that was asked
	Gap      int            // flows that began without translation and were deleted
	Stranded int            // flows whose egress address was gone and were deleted
	// Attachments and Policies are those of the last look.
	Attachments, Policies int
	// MissingEgress is the egress addresses that policies name and the node did not
	// have at the last look.
	MissingEgress []ruleset.MissingEgress
	// Drift is what was different at the last look and could not be mended.
	Drift int
	// Begun is when the look that is under way began; zero between looks.
	Begun time.Time
	// Advanced is when a sync last finished a part of its work.
	Advanced time.Time
	// LastLook is when the last look ended well. Looking is the time that all took,
	// Ended their number.
	LastLook time.Time
	Looking  time.Duration
	Ended    int
	// Full is how often the whole table was read and compared.
	Full int
	// LastRepair is how long the last repair took, from the beginning of its look;
	// Repairing is the sum of that time, and Took how many repairs took no longer
	// than each of Times, the last of them any time at all.
	LastRepair, Repairing time.Duration
	Took                  [len(Times) + 1]int
	// Swept is the number of attachments that were removed because their container was
	// gone, and Restored that of those whose container turned up again.
	Swept, Restored int
	// Lost is how often the kernel had more to tell than there was room for.
	Lost int
	// Problem is why the last look failed, empty where it did not.
	Problem string
}

// Times are those that repairs are counted by.
var Times = [...]time.Duration{
	5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, time.Second, 5 * time.Second,
}

func (s *Stats) repaired(took time.Duration) {
	s.LastRepair = took
	s.Repairing += took
	for i, t := range Times {
		if took <= t {
			s.Took[i]++
		}
	}
	s.Took[len(Times)]++
}

// stuckAfter is how long one part of a sync may take. On a slow node the first sync of
// tens of thousands of attachments takes longer than this, but no part of it does.
const stuckAfter = 30 * time.Second

// Stuck reports whether a sync has begun, does not end, and makes no progress.
func (s Stats) Stuck(now time.Time) bool {
	return !s.Begun.IsZero() && now.Sub(s.Begun) > stuckAfter && now.Sub(s.Advanced) > stuckAfter
}

// advance notes that a sync has finished a part of its work.
func (l *Loop) advance() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Advanced = time.Now()
}

// Stats returns a copy.
func (l *Loop) Stats() Stats {
	l.init()
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.stats
	out.MissingEgress = slices.Clone(l.stats.MissingEgress)
	out.Looks, out.Repairs, out.Errors = maps.Clone(l.stats.Looks), maps.Clone(l.stats.Repairs), maps.Clone(l.stats.Errors)
	return out
}

// drift notes how much is different and could not be mended.
func (l *Loop) drift(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Drift = n
}

// failed counts an error of the kernel.
func (l *Loop) failed(part string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Errors[part]++
}
