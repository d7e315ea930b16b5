package portpool

import (
	"math"
	"slices"
	"time"
)

// Pressure is how a group does.
type Pressure struct {
	Use
	Level Level
	// Rate is how many more ports are in use each second, smoothed over Memory; it
	// is negative where they become fewer, and 0 until the second sample.
	Rate float64
	// ExhaustedIn is when no port is left if the rate stays: 0 where none is, and
	// Never where it does not grow, or not within a day.
	ExhaustedIn time.Duration
}

// Never is the time until what is not foreseen.
const Never time.Duration = -1

// Memory is how long ago a change of a rate has lost most of its weight.
const Memory = time.Minute

// horizon is how far ahead a rate says anything.
const horizon = 24 * time.Hour

// trend remembers the groups of the last sample.
type trend struct {
	at     time.Time
	groups map[Group]past
}

type past struct {
	used   int
	ranges []Range
	rate   float64
	rated  bool
	level  Level
}

// add joins the uses of a sample with what was before, in their order. A group that
// was not among the uses of the last sample begins anew, and so does one whose
// fullest pool is another.
func (t *trend) add(now time.Time, uses []Use) []Pressure {
	out := make([]Pressure, 0, len(uses))
	groups := make(map[Group]past, len(uses))
	passed := now.Sub(t.at).Seconds()
	for _, u := range uses {
		was, ok := t.groups[u.Group]
		if ok = ok && slices.Equal(was.ranges, u.Ranges); !ok {
			was = past{}
		}
		is := past{used: u.Used, ranges: u.Ranges, rate: was.rate, rated: was.rated}
		if ok && passed > 0 {
			rate := float64(u.Used-was.used) / passed
			if was.rated {
				weight := -math.Expm1(-passed / Memory.Seconds())
				rate = was.rate + weight*(rate-was.rate)
			}
			is.rate, is.rated = rate, true
		}
		p := Pressure{Use: u, Rate: is.rate, ExhaustedIn: left(u.Usable-u.Used, is.rate)}
		p.Level = level(was.level, u.Share(), p.ExhaustedIn)
		is.level = p.Level
		groups[u.Group] = is
		out = append(out, p)
	}
	t.at, t.groups = now, groups
	return out
}

// PressuresOf are uses without any before: they have no rate.
func PressuresOf(uses []Use) []Pressure {
	var t trend
	return t.add(time.Time{}, uses)
}

func left(free int, rate float64) time.Duration {
	if free <= 0 {
		return 0
	}
	if seconds := float64(free) / rate; rate > 0 && seconds <= horizon.Seconds() {
		return time.Duration(seconds * float64(time.Second))
	}
	return Never
}
