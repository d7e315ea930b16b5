package natlog

import (
	"errors"
	"fmt"
	"time"
)

// Options are the limits of a log. A zero field means the default.
type Options struct {
	// MaxSegmentBytes is the largest size of a segment; default 64 MiB.
	MaxSegmentBytes int64
	// MaxTotalBytes is the largest size of all files; the oldest are removed. Default
	// 1 GiB.
	MaxTotalBytes int64
	// MaxAge is how long a record is kept at least, unless MaxTotalBytes is exceeded. It is
	// removed after 9/8 of MaxAge at the latest. 0 means no limit.
	MaxAge time.Duration
	// FlushInterval is the longest time until readers can read a record; default 1 s.
	FlushInterval time.Duration
	// QueueRecords is the number of records that can wait for a slow disk, about 200
	// bytes each; default 65536. Records are dropped and counted while the queue is full.
	QueueRecords int
	// Now is the clock for file names, ages and the Gap at the start; default time.Now.
	Now func() time.Time
}

const (
	// MinAge is the smallest MaxAge other than 0.
	MinAge = 8 * time.Second
	// MinTotalBytes is the smallest valid MaxTotalBytes if MaxSegmentBytes is the default.
	MinTotalBytes = 4 * defaultSegment

	defaultSegment = 64 << 20
	minSegment     = 64 << 10
	batchRecords   = 1 << 10
)

// Validate reports all invalid fields.
func (o Options) Validate() error {
	o = o.withDefaults()
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.MaxSegmentBytes < minSegment {
		fail("MaxSegmentBytes: %d is too small; the minimum is %d", o.MaxSegmentBytes, minSegment)
	}
	if o.MaxTotalBytes < 4*o.MaxSegmentBytes {
		fail("MaxTotalBytes: %d is too small for four segments of %d bytes; the minimum is %d", o.MaxTotalBytes, o.MaxSegmentBytes, 4*o.MaxSegmentBytes)
	}
	if o.MaxAge < 0 || o.MaxAge > 0 && o.MaxAge < MinAge {
		fail("MaxAge: %s is too short; the minimum is %s, or 0 for no limit", o.MaxAge, MinAge)
	}
	if o.FlushInterval < time.Millisecond {
		fail("FlushInterval: %s is too short; the minimum is 1ms", o.FlushInterval)
	}
	if o.QueueRecords < batchRecords || o.QueueRecords > 1<<24 {
		fail("QueueRecords: %d is out of range; give %d to %d", o.QueueRecords, batchRecords, 1<<24)
	}
	return errors.Join(errs...)
}

func (o Options) withDefaults() Options {
	if o.MaxSegmentBytes == 0 {
		o.MaxSegmentBytes = defaultSegment
	}
	if o.MaxTotalBytes == 0 {
		o.MaxTotalBytes = 1 << 30
	}
	if o.FlushInterval == 0 {
		o.FlushInterval = time.Second
	}
	if o.QueueRecords == 0 {
		o.QueueRecords = 1 << 16
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}
