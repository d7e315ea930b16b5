package portpool

import (
	"math"
	"slices"
	"time"
)

// Forecast is the usage of a group and when its ports will be exhausted.
type Forecast struct {
	Usage
	Severity Severity
	// Rate is the change of the ports in use, in ports per second, smoothed over
	// rateTimeConstant. It is negative if ports become free, and 0 until the second sample.
	Rate float64
	// ExhaustedIn is the time until no port is free if the rate stays the same: 0 if none is
	// free now; Never if the rate is not positive or the time is above a day.
	ExhaustedIn time.Duration
}

// Never is the ExhaustedIn of a group for which no exhaustion is expected.
const Never time.Duration = -1

// rateTimeConstant is the time constant of the exponential smoothing of rates.
const rateTimeConstant = time.Minute

// maxExhaustedIn is the longest time for which a rate is extrapolated.
const maxExhaustedIn = 24 * time.Hour

// history is the state of the last sample, with which the next sample is compared.
type history struct {
	at     time.Time
	groups map[Group]pastUsage
}

// pastUsage is the state of a group in the last sample.
type pastUsage struct {
	used     int
	ranges   []Range
	rate     float64
	hasRate  bool
	severity Severity
}

// add returns the forecasts of a sample, in the order of the usages. A group has no
// rate if the last sample did not have it, or if its fullest pool has changed.
func (h *history) add(now time.Time, usages []Usage) []Forecast {
	out := make([]Forecast, 0, len(usages))
	groups := make(map[Group]pastUsage, len(usages))
	elapsed := now.Sub(h.at).Seconds()
	for _, u := range usages {
		before, ok := h.groups[u.Group]
		if ok = ok && slices.Equal(before.ranges, u.Ranges); !ok {
			before = pastUsage{}
		}
		p := pastUsage{used: u.Used, ranges: u.Ranges, rate: before.rate, hasRate: before.hasRate}
		if ok && elapsed > 0 {
			rate := float64(u.Used-before.used) / elapsed
			if before.hasRate {
				weight := -math.Expm1(-elapsed / rateTimeConstant.Seconds())
				rate = before.rate + weight*(rate-before.rate)
			}
			p.rate, p.hasRate = rate, true
		}
		exhaustedIn := exhaustion(u.Usable-u.Used, p.rate)
		p.severity = severityOf(before.severity, u.Share(), exhaustedIn)
		groups[u.Group] = p
		out = append(out, Forecast{Usage: u, Severity: p.severity, Rate: p.rate, ExhaustedIn: exhaustedIn})
	}
	h.at, h.groups = now, groups
	return out
}

// ForecastsOf returns forecasts from one sample alone: their rates are 0.
func ForecastsOf(usages []Usage) []Forecast {
	var h history
	return h.add(time.Time{}, usages)
}

// exhaustion returns the time until free ports are used up at a rate.
func exhaustion(free int, rate float64) time.Duration {
	if free <= 0 {
		return 0
	}
	if seconds := float64(free) / rate; rate > 0 && seconds <= maxExhaustedIn.Seconds() {
		return time.Duration(seconds * float64(time.Second))
	}
	return Never
}
