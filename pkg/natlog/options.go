package natlog

import (
	"errors"
	"fmt"
	"time"
)

// Options are the bounds of a log. A zero field is the default.
type Options struct {
	// MaxSegmentBytes is the size at which the next file is begun; 64 MiB.
	MaxSegmentBytes int64
	// MaxTotalBytes bounds the files together; the oldest are removed. 1 GiB.
	MaxTotalBytes int64
	// MaxAge is how long a record is kept at least, unless MaxTotalBytes forbids; it
	// is gone after nine eighths of it. 0 is without end.
	MaxAge time.Duration
	// FlushInterval is how long a record waits until readers see it; 1 s.
	FlushInterval time.Duration
	// QueueRecords is how many records wait for a slow disk, about 200 bytes each;
	// 65536. What comes while the queue is full is lost, and counted.
	QueueRecords int
	// Now is the clock of what the writer itself records; time.Now.
	Now func() time.Time
}

const (
	// MinAge is the shortest MaxAge that is not 0.
	MinAge = 8 * time.Second
	// MinTotalBytes is the least MaxTotalBytes with the default of MaxSegmentBytes.
	MinTotalBytes = 4 * defaultSegment

	defaultSegment = 64 << 20
	leastSegment   = 64 << 10
	batchRecords   = 1 << 10
)

// Validate reports every field that cannot be carried out.
func (o Options) Validate() error {
	o = o.withDefaults()
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.MaxSegmentBytes < leastSegment {
		fail("MaxSegmentBytes: %d is too small; give %d or more", o.MaxSegmentBytes, leastSegment)
	}
	if o.MaxTotalBytes < 4*o.MaxSegmentBytes {
		fail("MaxTotalBytes: %d has no room for four files of %d bytes; give %d or more", o.MaxTotalBytes, o.MaxSegmentBytes, 4*o.MaxSegmentBytes)
	}
	if o.MaxAge < 0 || o.MaxAge > 0 && o.MaxAge < MinAge {
		fail("MaxAge: %s is too short; give 8s or more, or 0 to keep records for ever", o.MaxAge)
	}
	if o.FlushInterval < time.Millisecond {
		fail("FlushInterval: %s is too short; give 1ms or more", o.FlushInterval)
	}
	if o.QueueRecords < batchRecords || o.QueueRecords > 1<<24 {
		fail("QueueRecords: %d is not within %d-%d", o.QueueRecords, batchRecords, 1<<24)
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
