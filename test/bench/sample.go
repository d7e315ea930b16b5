package main

import (
	"math"
	"slices"
)

// sample has the measured values of one subject, in the order of the rounds.
type sample []float64

// at returns the value that the share q of the sample does not exceed.
func (s sample) at(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(0, int(math.Ceil(q*float64(len(s))))-1)]
}

func (s sample) median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	return (sorted[(len(s)-1)/2] + sorted[len(s)/2]) / 2
}

// over divides each value by the other sample's value of the same round.
func (s sample) over(o sample) sample {
	out := make(sample, min(len(s), len(o)))
	for i := range out {
		out[i] = s[i] / o[i]
	}
	return out
}

// each applies f to each value.
func (s sample) each(f func(float64) float64) sample {
	out := make(sample, len(s))
	for i, v := range s {
		out[i] = f(v)
	}
	return out
}

// ratio compares one sample with another.
type ratio struct {
	value    float64
	p10, p90 float64 // percentiles of the rounds' ratios
}

// ofMedians divides median by median, as targets for calls are defined.
func ofMedians(s, o sample) *ratio {
	pairs := s.over(o)
	return &ratio{s.median() / o.median(), pairs.at(0.1), pairs.at(0.9)}
}

// ofRounds divides within each round, so that drift, such as the clock of a shared processor,
// affects both sides.
func ofRounds(s, o sample) *ratio {
	pairs := s.over(o)
	return &ratio{pairs.median(), pairs.at(0.1), pairs.at(0.9)}
}
