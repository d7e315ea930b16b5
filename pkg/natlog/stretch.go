package natlog

import "math"

// stretch is a part of the log in which the clock was not set back: an order of times
// that is that of the records, but for slack.
type stretch struct {
	at          int // the first row of it, in its block
	first, last int64
}

// stretches are those of a block.
func (d *decoder) stretches() []stretch {
	var out []stretch
	gaps := d.head.flags&flagGaps != 0
	for i, t := range d.times {
		switch s := len(out) - 1; {
		case gaps && d.classes[d.classOf[i]].kind == Gap: // comes before records that were waiting
		case s < 0 || t < out[s].last-slack:
			out = append(out, stretch{i, t, t})
		default:
			out[s].first, out[s].last = min(out[s].first, t), max(out[s].last, t)
		}
	}
	return out
}

// goOn appends the stretches of the next block, the first of which may go on with the
// last there is. It returns the number of that.
func goOn(all, of []stretch) ([]stretch, int) {
	if len(of) == 0 {
		return all, len(all) - 1
	}
	s := len(all) - 1
	if s < 0 || of[0].first < all[s].last-slack {
		return append(all, of...), s + 1
	}
	all[s].last = max(all[s].last, of[0].last)
	return append(all, of[1:]...), s
}

// setBack reports whether the clock was set back within the log, as far as it shows
// between blocks.
func setBack(blocks []ref) bool {
	last := int64(math.MinInt64)
	for i := range blocks {
		if b := &blocks[i]; b.flags&flagGaps == 0 {
			if last != math.MinInt64 && b.first < last-slack {
				return true
			}
			last = max(last, b.last)
		}
	}
	return false
}

// lived reports whether a flow was there in the time asked for, by the stretches in which
// it began and ended.
func (j *joining) lived(began int64, from int, ended int64, until int) bool {
	for i := from; i <= until; i++ {
		first, last := began, ended
		if i > from {
			first = j.stretches[i].first
		}
		if i < until {
			last = j.stretches[i].last
		}
		if first <= j.until && last >= j.from {
			return true
		}
	}
	return false
}
