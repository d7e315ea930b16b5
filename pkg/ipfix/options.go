package ipfix

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Options configure an exporter. A zero field other than Collector means the default.
type Options struct {
	Collector Collector
	// TemplateInterval is how often statistics and, over UDP, templates are sent again, if
	// there are records to send; default 5 s. A restarted collector cannot decode records
	// until it receives the templates.
	TemplateInterval time.Duration
	// QueueBytes is the size of the queue, 100 to 200 bytes for each record; default
	// 8 MiB.
	QueueBytes int
	// Log receives a message when sending fails or works again, and when records are
	// dropped. By default nothing is logged.
	Log *slog.Logger
}

const minQueue = 8 * chunkBytes

// Validate reports all invalid fields.
func (o Options) Validate() error {
	o = o.withDefaults()
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if _, err := ParseCollector(o.Collector.String()); err != nil {
		fail("Collector: %w", err)
	}
	if o.TemplateInterval < 0 {
		fail("TemplateInterval: %s is negative; 0 means the default", o.TemplateInterval)
	}
	if o.QueueBytes < minQueue {
		fail("QueueBytes: %d is too small; the minimum is %d", o.QueueBytes, minQueue)
	}
	return errors.Join(errs...)
}

func (o Options) withDefaults() Options {
	if o.TemplateInterval == 0 {
		o.TemplateInterval = 5 * time.Second
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = 8 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}
