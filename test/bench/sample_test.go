package main

import (
	"math"
	"testing"
)

func TestSample(t *testing.T) {
	s := sample{5, 1, 4, 2, 3, 10, 9, 8, 7, 6}
	for _, c := range []struct {
		what      string
		got, want float64
	}{
		{"p10", s.at(0.1), 1},
		{"p90", s.at(0.9), 9},
		{"p100", s.at(1), 10},
		{"p0", s.at(0), 1},
		{"median, even", s.median(), 5.5},
		{"median, odd", s[:3].median(), 4},
		{"first of pairs", s.over(sample{2, 4})[1], 0.25},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
	if !math.IsNaN(sample{}.median()) || !math.IsNaN(sample{}.at(0.5)) {
		t.Error("an empty sample has no median")
	}
	if n := len(s.over(sample{1})); n != 1 {
		t.Errorf("%d pairs of 10 values and 1", n)
	}
}

// A drift that both samples share must not affect the ratio of rounds.
func TestRatioOfRounds(t *testing.T) {
	one, two := sample{1, 10, 100}, sample{2, 20, 200}
	if r := ofRounds(one, two); *r != (ratio{0.5, 0.5, 0.5}) {
		t.Errorf("%+v", *r)
	}
	if r := ofMedians(sample{1, 2, 3}, sample{4, 4, 4}); *r != (ratio{0.5, 0.25, 0.75}) {
		t.Errorf("%+v", *r)
	}
}
