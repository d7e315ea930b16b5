package ipfix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/natlog"
)

// Branch on these with errors.Is.
var (
	// ErrClosed means that the exporter is closed.
	ErrClosed = errors.New("the exporter is closed")
	// ErrLost means that a record was dropped and counted. The collector receives the count.
	ErrLost = errors.New("record lost: the collector is too slow or unreachable")

	errStalled = errors.New("the collector accepts no more data")
	errClosing = errors.New("the exporter is closing")
)

const (
	// batchDelay is how long a record waits to be sent together with others.
	batchDelay = 100 * time.Millisecond
	// minRetryDelay and maxRetryDelay limit the time between two attempts to connect.
	minRetryDelay = 100 * time.Millisecond
	maxRetryDelay = 5 * time.Second
	// stallTimeout is the time after which a stalled connection is closed.
	stallTimeout = 5 * time.Minute
	// closeTimeout is how long Close tries to send queued records.
	closeTimeout = 200 * time.Millisecond
)

// Exporter sends records to a collector. It is safe for concurrent use.
type Exporter struct {
	opts         Options
	id           uint32 // exportingProcessId: distinguishes restarts of masqd
	templates    templates
	templateSets []byte // encoded, as sent at the start of a session
	queue        *queue
	cancel       context.CancelFunc
	done         chan struct{}

	// Used by run only.
	chunk, rest  []byte // chunk is being sent; rest is its unsent part
	reportedLost uint64 // number of lost records that was last sent to the collector

	mu           sync.Mutex
	sent         uint64
	err          error
	wasConnected bool // a session has begun
}

// Stats describes an exporter since it was opened.
type Stats struct {
	Appended uint64 // records that were queued
	Sent     uint64 // records that were sent
	Lost     uint64 // records that were not sent, or that may not have arrived
	// Err is the reason if nothing can be sent at present. Records wait in the queue.
	Err error
}

// Open starts an exporter. A host name that does not exist is an error. An unreachable
// collector is not, see Stats.
func Open(ctx context.Context, o Options) (*Exporter, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("IPFIX: %w", err)
	}
	o = o.withDefaults()
	if err := o.Collector.resolve(ctx); err != nil {
		return nil, err
	}
	all, err := newTemplates()
	if err != nil {
		return nil, fmt.Errorf("IPFIX: %w", err)
	}
	sets, err := all.append(nil)
	if err != nil {
		return nil, fmt.Errorf("IPFIX: %w", err)
	}
	x := &Exporter{
		opts: o, id: uint32(time.Now().Unix()), templates: all, templateSets: sets,
		queue: newQueue(o.QueueBytes, all.events), done: make(chan struct{}),
	}
	ctx, x.cancel = context.WithCancel(context.WithoutCancel(ctx)) // Close cancels it
	go x.run(ctx)
	return x, nil
}

// Append queues a record and keeps no reference to it. It never blocks on the network. If
// the queue is full, the record is dropped and counted, and the error is ErrLost. The
// collector receives the count as soon as there is room. A Gap is not sent. Its number of
// lost records is added to that count, or 1 if the number is unknown.
func (x *Exporter) Append(r *natlog.Record) error {
	if err := r.Validate(); err != nil {
		return err
	}
	if r.Kind == natlog.Gap {
		x.countLost(max(r.Lost, 1), r.Began(), r.Time)
		return nil
	}
	ok, began, err := x.queue.put(templateOf(r), r)
	if began {
		x.opts.Log.Warn("the IPFIX collector is too slow or unreachable: records are dropped and counted", "collector", x.opts.Collector)
	}
	if err == nil && !ok {
		err = ErrLost
	}
	return err
}

// countLost counts records that are not sent.
func (x *Exporter) countLost(n uint64, from, to time.Time) {
	x.queue.mu.Lock()
	defer x.queue.mu.Unlock()
	x.queue.countLost(n, from, to)
}

// Stats returns the present state. It may be called after Close.
func (x *Exporter) Stats() Stats {
	appended, lost := x.queue.counts()
	x.mu.Lock()
	defer x.mu.Unlock()
	return Stats{Appended: appended, Sent: x.sent, Lost: lost, Err: x.err}
}

// Close sends queued records for at most 200 ms and ends the session. It logs and counts
// records that were not sent.
func (x *Exporter) Close() {
	x.queue.close()
	x.cancel()
	<-x.done
}

// run connects to the collector and sends records until the context ends.
func (x *Exporter) run(ctx context.Context) {
	defer close(x.done)
	defer x.countUnsent()
	for wait := time.Duration(0); ; {
		begun := time.Now()
		s, err := x.connect(ctx)
		if err == nil {
			x.setErr(nil)
			err = x.serve(ctx, s)
			x.countUndelivered(ctx, s)
			s.close()
		}
		if ctx.Err() != nil {
			return
		}
		x.setErr(err)
		if time.Since(begun) > maxRetryDelay {
			wait = 0
		}
		wait = min(max(2*wait, minRetryDelay), maxRetryDelay)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// countUndelivered counts records as lost that may not have arrived in a broken session.
func (x *Exporter) countUndelivered(ctx context.Context, s *session) {
	now := time.Now()
	if n, since := s.undelivered(now); n > 0 && ctx.Err() == nil {
		x.countLost(n, since, now)
		x.opts.Log.Warn("records may not have arrived at the IPFIX collector", "collector", x.opts.Collector, "records", n)
	}
}

// connect begins a session and sends the templates.
func (x *Exporter) connect(ctx context.Context) (*session, error) {
	s, err := dial(ctx, x.opts.Collector)
	if err != nil {
		return nil, err
	}
	if err := x.sendTemplates(ctx, s); err != nil {
		s.close()
		return nil, err
	}
	if s.isUDP {
		// UDP has no handshake, but a host may answer that the port is closed.
		select {
		case err = <-s.closed:
		case <-ctx.Done():
		case <-time.After(unreachableDelay):
		}
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// serve sends records until the session breaks or the context ends.
func (x *Exporter) serve(ctx context.Context, s *session) error {
	for {
		if err := x.send(ctx, s); err != nil {
			return err
		}
		var again <-chan time.Time
		if on, records := x.queue.lossPeriodState(time.Now()); on {
			again = time.After(recoveryDelay)
		} else if records > 0 {
			x.opts.Log.Info("the IPFIX collector receives all records again; it was sent the number of dropped records", "collector", x.opts.Collector, "records", records)
		}
		select {
		case <-ctx.Done():
			return x.send(ctx, s)
		case err := <-s.closed:
			return err
		case <-again:
			continue
		case <-x.queue.notEmpty:
		}
		select {
		case <-ctx.Done():
		case err := <-s.closed:
			return err
		case <-x.queue.chunkReady:
		case <-time.After(batchDelay):
		}
	}
}

// send sends all queued records. A record leaves the queue when the socket has accepted it.
func (x *Exporter) send(ctx context.Context, s *session) error {
	for {
		more := x.nextChunk()
		old := func(t time.Time) bool { return more && time.Since(t) > x.opts.TemplateInterval }
		var err error
		if m := x.queue.lostRecords(); s.isUDP && old(s.templatesSent) {
			err = x.sendTemplates(ctx, s)
		} else if m.count != x.reportedLost || old(s.statisticsSent) {
			err = x.sendStatistics(ctx, s, m)
		}
		if err != nil || !more {
			return err
		}
		if err := x.sendRecords(ctx, s); err != nil {
			return err
		}
	}
}

// nextChunk reports whether records are queued, and sets chunk and rest.
func (x *Exporter) nextChunk() bool {
	if len(x.rest) > 0 {
		return true
	}
	if x.chunk != nil {
		x.queue.giveBack(x.chunk)
	}
	x.chunk = x.queue.take()
	x.rest = x.chunk
	return len(x.rest) > 0
}

// sendRecords sends one message of records.
func (x *Exporter) sendRecords(ctx context.Context, s *session) error {
	for {
		m, rest, n := fill(beginMessage(s.message[:0]), x.rest, s.limit())
		s.message = m
		if n == 0 {
			// One record exceeds the path MTU, which no usual path does.
			_, _, x.rest = next(x.rest)
			now := time.Now()
			x.countLost(1, now, now)
			return nil
		}
		err := x.write(ctx, s, m)
		if s.isTooLarge(err) {
			continue
		}
		if err != nil {
			return err
		}
		s.sequence += n
		s.addUnconfirmed(n, time.Now())
		x.rest = rest
		x.mu.Lock()
		x.sent += uint64(n)
		x.mu.Unlock()
		return nil
	}
}

// sendTemplates sends the templates and the statistics.
func (x *Exporter) sendTemplates(ctx context.Context, s *session) error {
	s.message = append(beginMessage(s.message[:0]), x.templateSets...)
	if err := x.write(ctx, s, s.message); err != nil {
		return err
	}
	s.templatesSent = time.Now()
	return x.sendStatistics(ctx, s, x.queue.lostRecords())
}

// sendStatistics sends the numbers of sent and lost records.
func (x *Exporter) sendStatistics(ctx context.Context, s *session, m lostRecords) error {
	b, err := x.templates.appendStatistics(beginMessage(s.message[:0]), x.id, x.Stats().Sent, m)
	if err != nil {
		return err
	}
	s.message = b
	if err := x.write(ctx, s, b); err != nil {
		return err
	}
	s.sequence++
	s.statisticsSent = time.Now()
	x.reportedLost = m.count
	return nil
}

// write sends a message. It waits for a slow collector, and logs if that takes more than a
// second.
func (x *Exporter) write(ctx context.Context, s *session, m []byte) error {
	endMessage(m, s.sequence, time.Now())
	select {
	case err := <-s.closed:
		return err
	default:
	}
	// Write timeouts are counted, rather than the clock read: a process that was not
	// scheduled for a while must not report a stall.
	stalled, still := false, time.Duration(0)
	for {
		if ctx.Err() != nil && s.deadline.IsZero() {
			s.deadline = time.Now().Add(closeTimeout)
		}
		if !s.deadline.IsZero() && time.Now().After(s.deadline) {
			return errClosing
		}
		n, err := s.write(m)
		m = m[n:]
		if len(m) == 0 {
			break
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if still += writeTimeout; n > 0 {
			still = 0
		}
		switch {
		case still > stallTimeout:
			return errStalled
		case still > time.Second && !stalled:
			stalled = true
			x.setErr(errStalled)
		}
	}
	if stalled {
		x.setErr(nil)
	}
	return nil
}

// setErr sets Stats.Err, and logs when sending fails and when it works again.
func (x *Exporter) setErr(err error) {
	x.mu.Lock()
	before, connected := x.err, x.wasConnected
	x.err = err
	x.wasConnected = connected || err == nil
	x.mu.Unlock()
	switch {
	case err != nil && before == nil:
		x.opts.Log.Warn("cannot send records to the IPFIX collector; they wait in the queue", "collector", x.opts.Collector, "err", err)
	case err == nil && (before != nil || !connected):
		x.opts.Log.Info("sending records to the IPFIX collector", "collector", x.opts.Collector)
	}
}

// countUnsent counts and logs records that were not sent when the exporter was closed.
func (x *Exporter) countUnsent() {
	n := uint64(0)
	for x.nextChunk() {
		n += count(x.rest)
		x.rest = nil
	}
	if n > 0 {
		now := time.Now()
		x.countLost(n, now, now)
		x.opts.Log.Warn("closed before all records were sent to the IPFIX collector", "collector", x.opts.Collector, "records", n)
	}
}
