package ipfix

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Options say where records go. Of all but Collector, a zero field is the default.
type Options struct {
	Collector Collector
	// TemplateInterval is how old templates may be, over UDP, and statistics, when a
	// record is sent; 5 s. A collector that was started anew without anybody's notice
	// understands nothing for so long.
	TemplateInterval time.Duration
	// QueueBytes is how much waits for a collector that is slow or gone, 100 to 200
	// bytes for each record; 8 MiB.
	QueueBytes int
	// Log is told when the collector is gone and back, and when records begin to be
	// lost; nobody.
	Log *slog.Logger
}

const leastQueue = 8 * chunkBytes

// Validate reports every field that cannot be carried out.
func (o Options) Validate() error {
	o = o.withDefaults()
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if _, err := ParseCollector(o.Collector.String()); err != nil {
		fail("Collector: %w", err)
	}
	if o.TemplateInterval < 0 {
		fail("TemplateInterval: %s is below 0; give 0 for the default, or more", o.TemplateInterval)
	}
	if o.QueueBytes < leastQueue {
		fail("QueueBytes: %d is too small; give %d or more", o.QueueBytes, leastQueue)
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
