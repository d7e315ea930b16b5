package natlog

import "math"

// clockSegment is a part of the log in which the clock was not set back: times do not
// decrease by more than maxClockSkew from record to record.
type clockSegment struct {
	at          int // index of its first row in the block
	first, last int64
}

// clockSegments returns the clock segments of the block.
func (d *decoder) clockSegments() []clockSegment {
	var out []clockSegment
	gaps := d.head.flags&flagGaps != 0
	for i, t := range d.times {
		switch s := len(out) - 1; {
		case gaps && d.classes[d.classOf[i]].kind == Gap: // may be later than the records that follow it
		case s < 0 || t < out[s].last-maxClockSkew:
			out = append(out, clockSegment{i, t, t})
		default:
			out[s].first, out[s].last = min(out[s].first, t), max(out[s].last, t)
		}
	}
	return out
}

// mergeClockSegments appends the clock segments of the next block. The first of them
// continues the last segment of all, unless the clock was set back in between. It returns
// the index of the first of them.
func mergeClockSegments(all, next []clockSegment) ([]clockSegment, int) {
	if len(next) == 0 {
		return all, len(all) - 1
	}
	s := len(all) - 1
	if s < 0 || next[0].first < all[s].last-maxClockSkew {
		return append(all, next...), s + 1
	}
	all[s].last = max(all[s].last, next[0].last)
	return append(all, next[1:]...), s
}

// isClockSetBack reports whether the clock was set back, according to the headers of the
// blocks.
func isClockSetBack(blocks []ref) bool {
	last := int64(math.MinInt64)
	for i := range blocks {
		if b := &blocks[i]; b.flags&flagGaps == 0 {
			if last != math.MinInt64 && b.first < last-maxClockSkew {
				return true
			}
			last = max(last, b.last)
		}
	}
	return false
}

// overlapsFlow reports whether a flow was open between j.from and j.until. The flow began
// in the clock segment from and ended in the clock segment until.
func (j *joiner) overlapsFlow(began int64, from int, ended int64, until int) bool {
	for i := from; i <= until; i++ {
		first, last := began, ended
		if i > from {
			first = j.clockSegments[i].first
		}
		if i < until {
			last = j.clockSegments[i].last
		}
		if first <= j.until && last >= j.from {
			return true
		}
	}
	return false
}
