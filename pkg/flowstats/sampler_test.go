package flowstats

import (
	"testing"
	"time"
)

// However often metrics are requested, samples take at most a hundredth of a core.
func TestSamplesArePaced(t *testing.T) {
	var s Sampler
	start := time.Now()
	if !s.isDue(start) {
		t.Error("the first sample may not start at once")
	}
	for took, pause := range map[time.Duration]time.Duration{
		time.Millisecond: minPause, 150 * time.Millisecond: 15 * time.Second, time.Second: 100 * time.Second, 3 * time.Second: 5 * time.Minute,
	} {
		s.last.Time, s.last.Duration = start, took
		if s.isDue(start.Add(pause)) || !s.isDue(start.Add(pause+time.Millisecond)) {
			t.Errorf("after a sample of %s the pause is not %s", took, pause)
		}
	}
	if s.sampling = true; s.isDue(start.Add(time.Hour)) {
		t.Error("a sample may start while another one is running")
	}
}
