package main

import (
	"testing"
	"time"
)

// However often somebody asks, samples take a hundredth of a core at most.
func TestSamplesArePaced(t *testing.T) {
	var s sampler
	begun := time.Now()
	if !s.due(begun) {
		t.Error("the first is not taken at once")
	}
	for took, wait := range map[time.Duration]time.Duration{
		time.Millisecond: freshness, 150 * time.Millisecond: 15 * time.Second, time.Second: 100 * time.Second, 3 * time.Second: 5 * time.Minute,
	} {
		s.last.Sampled, s.last.Took = begun, took
		if s.due(begun.Add(wait)) || !s.due(begun.Add(wait+time.Millisecond)) {
			t.Errorf("after one that took %s the next is not taken after %s", took, wait)
		}
	}
	if s.busy = true; s.due(begun.Add(time.Hour)) {
		t.Error("another begins while one is under way")
	}
}
