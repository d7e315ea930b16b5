package natlog

import (
	"errors"
	"math"
	"time"
)

// ClockStep is a moment at which the clock was set back.
type ClockStep struct {
	From, To time.Time // before and after
}

// By returns how far the clock was set back.
func (s ClockStep) By() time.Duration { return s.From.Sub(s.To) }

// LastClockStep returns the latest moment at which the clock was set back by at least a
// duration, as the records of a log show it, or nil. It reads the headers of blocks only: To
// may be some seconds later than the moment, and a step that a Gap covers is not found.
func LastClockStep(dir string, least time.Duration) (*ClockStep, error) {
	v, err := openView(dir)
	if err != nil {
		return nil, err
	}
	defer v.close()
	var step *ClockStep
	last := int64(math.MinInt64)
	for i := range v.blocks {
		b := &v.blocks[i]
		if b.flags&flagGaps != 0 { // a gap may be later than the records that follow it
			continue
		}
		if last != math.MinInt64 && b.first <= last-least.Milliseconds() {
			step, last = &ClockStep{time.UnixMilli(last), time.UnixMilli(b.first)}, b.last
		}
		last = max(last, b.last)
	}
	return step, errors.Join(v.errs...)
}
