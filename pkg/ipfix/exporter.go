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
	// ErrClosed: the exporter was closed.
	ErrClosed = errors.New("the exporter is closed")
	// ErrLost: a record was dropped and counted; the collector will be told.
	ErrLost = errors.New("record lost: the collector does not keep up, or is gone")

	errStalled = errors.New("it takes nothing any more")
	errEnded   = errors.New("ended")
)

const (
	// linger is how long a record waits for others to share its message.
	linger = 100 * time.Millisecond
	// leastWait and mostWait are between two tries to reach the collector.
	leastWait = 100 * time.Millisecond
	mostWait  = 5 * time.Second
	// patience is how long a stalled connection is kept.
	patience = 5 * time.Minute
	// grace is how long Close waits for what can still be sent.
	grace = 200 * time.Millisecond
)

// Exporter sends records to a collector. Its methods may be called at the same time.
type Exporter struct {
	opts   Options
	id     uint32 // of this exporter, among all that there will be on this node
	about  templates
	first  []byte // sets of templates, which come first in a session
	queue  *queue
	cancel context.CancelFunc
	done   chan struct{}

	// The sending goroutine's alone.
	chunk, rest []byte // what is being sent, and what of it is not yet
	told        uint64 // losses that the collector was told of

	mu    sync.Mutex
	sent  uint64
	err   error
	heard bool // a collector was there once
}

// Stats is what an exporter did since it was opened.
type Stats struct {
	Taken uint64 // records, to be sent
	Sent  uint64 // records
	Lost  uint64 // records that were not, or that may not have arrived
	// Err is why nothing can be sent at the moment. Records wait in the queue
	// meanwhile.
	Err error
}

// Open begins to export. A name that does not resolve is an error; a collector that
// is not there is none: see Stats.
func Open(ctx context.Context, o Options) (*Exporter, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("IPFIX: %w", err)
	}
	o = o.withDefaults()
	if err := o.Collector.resolve(ctx); err != nil {
		return nil, err
	}
	about, err := newTemplates()
	if err != nil {
		return nil, fmt.Errorf("IPFIX: %w", err)
	}
	first, err := about.append(nil)
	if err != nil {
		return nil, fmt.Errorf("IPFIX: %w", err)
	}
	x := &Exporter{
		opts: o, id: uint32(time.Now().Unix()), about: about, first: first,
		queue: newQueue(o.QueueBytes, about.events), done: make(chan struct{}),
	}
	ctx, x.cancel = context.WithCancel(context.WithoutCancel(ctx)) // Close ends it
	go x.run(ctx)
	return x, nil
}

// Append queues a record and keeps no reference to it. It never blocks on the network. If
// the queue is full, the record is dropped and counted, the error is ErrLost, and the
// collector receives the count as soon as there is room. A Gap is not sent: its Lost
// records are added to that count, or 1 if their number is unknown.
func (x *Exporter) Append(r *natlog.Record) error {
	if err := r.Validate(); err != nil {
		return err
	}
	if r.Kind == natlog.Gap {
		x.lose(max(r.Lost, 1), r.Began(), r.Time)
		return nil
	}
	ok, began, err := x.queue.put(templateOf(r), r)
	if began {
		x.opts.Log.Warn("the IPFIX collector does not get all records; it will be told how many", "collector", x.opts.Collector)
	}
	if err == nil && !ok {
		err = ErrLost
	}
	return err
}

// lose counts records that are not sent.
func (x *Exporter) lose(n uint64, from, to time.Time) {
	x.queue.mu.Lock()
	defer x.queue.mu.Unlock()
	x.queue.lose(n, from, to)
}

// Stats may be called at any time.
func (x *Exporter) Stats() Stats {
	taken, lost := x.queue.counts()
	x.mu.Lock()
	defer x.mu.Unlock()
	return Stats{Taken: taken, Sent: x.sent, Lost: lost, Err: x.err}
}

// Close sends what waits, as far as the collector takes it at once, and ends the
// session. What is left is logged.
func (x *Exporter) Close() {
	x.queue.close()
	x.cancel()
	<-x.done
}

// run owns the connection.
func (x *Exporter) run(ctx context.Context) {
	defer close(x.done)
	defer x.leave()
	for wait := time.Duration(0); ; {
		begun := time.Now()
		s, err := x.connect(ctx)
		if err == nil {
			x.state(nil)
			err = x.serve(ctx, s)
			x.doubt(ctx, s)
			s.close()
		}
		if ctx.Err() != nil {
			return
		}
		x.state(err)
		if time.Since(begun) > mostWait {
			wait = 0
		}
		wait = min(max(2*wait, leastWait), mostWait)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// doubt counts what a session that broke may have taken with it.
func (x *Exporter) doubt(ctx context.Context, s *session) {
	now := time.Now()
	if n, since := s.doubtful(now); n > 0 && ctx.Err() == nil {
		x.lose(n, since, now)
		x.opts.Log.Warn("records may not have reached the IPFIX collector", "collector", x.opts.Collector, "records", n)
	}
}

// connect begins a session: templates come first.
func (x *Exporter) connect(ctx context.Context) (*session, error) {
	s, err := dial(ctx, x.opts.Collector)
	if err != nil {
		return nil, err
	}
	if err := x.describe(ctx, s); err != nil {
		s.close()
		return nil, err
	}
	if s.udp {
		// Nobody says that he listens, but a host may say that nobody does.
		select {
		case err = <-s.gone:
		case <-ctx.Done():
		case <-time.After(settle):
		}
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// serve sends until the session breaks or the context ends.
func (x *Exporter) serve(ctx context.Context, s *session) error {
	for {
		if err := x.send(ctx, s); err != nil {
			return err
		}
		var again <-chan time.Time
		if on, records := x.queue.calmed(time.Now()); on {
			again = time.After(calm)
		} else if records > 0 {
			x.opts.Log.Info("the IPFIX collector gets all records again; it was told how many it did not", "collector", x.opts.Collector, "records", records)
		}
		select {
		case <-ctx.Done():
			return x.send(ctx, s)
		case err := <-s.gone:
			return err
		case <-again:
			continue
		case <-x.queue.some:
		}
		select {
		case <-ctx.Done():
		case err := <-s.gone:
			return err
		case <-x.queue.much:
		case <-time.After(linger):
		}
	}
}

// send sends all that waits. A record is off the queue when its message was taken.
func (x *Exporter) send(ctx context.Context, s *session) error {
	for {
		more := x.more()
		old := func(t time.Time) bool { return more && time.Since(t) > x.opts.TemplateInterval }
		var err error
		if m := x.queue.lost(); s.udp && old(s.described) {
			err = x.describe(ctx, s)
		} else if m.count != x.told || old(s.told) {
			err = x.tell(ctx, s, m)
		}
		if err != nil || !more {
			return err
		}
		if err := x.sendRecords(ctx, s); err != nil {
			return err
		}
	}
}

// more reports whether records wait.
func (x *Exporter) more() bool {
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

// sendRecords sends one message.
func (x *Exporter) sendRecords(ctx context.Context, s *session) error {
	for {
		m, rest, n := fill(beginMessage(s.message[:0]), x.rest, s.limit())
		s.message = m
		if n == 0 {
			// No path is so narrow but one that is set up to be.
			_, _, x.rest = next(x.rest)
			now := time.Now()
			x.lose(1, now, now)
			return nil
		}
		err := x.write(ctx, s, m)
		if s.narrower(err) {
			continue
		}
		if err != nil {
			return err
		}
		s.sequence += n
		s.wrote(n, time.Now())
		x.rest = rest
		x.mu.Lock()
		x.sent += uint64(n)
		x.mu.Unlock()
		return nil
	}
}

// describe sends the templates, and what was lost before.
func (x *Exporter) describe(ctx context.Context, s *session) error {
	s.message = append(beginMessage(s.message[:0]), x.first...)
	if err := x.write(ctx, s, s.message); err != nil {
		return err
	}
	s.described = time.Now()
	return x.tell(ctx, s, x.queue.lost())
}

// tell sends statistics: how many records were sent, and how many were not.
func (x *Exporter) tell(ctx context.Context, s *session, m missed) error {
	b, err := x.about.tell(beginMessage(s.message[:0]), x.id, x.Stats().Sent, m)
	if err != nil {
		return err
	}
	s.message = b
	if err := x.write(ctx, s, b); err != nil {
		return err
	}
	s.sequence++
	s.told = time.Now()
	x.told = m.count
	return nil
}

// write sends a message. It waits for a collector that is slow, and says when that
// takes long.
func (x *Exporter) write(ctx context.Context, s *session, m []byte) error {
	endMessage(m, s.sequence, time.Now())
	select {
	case err := <-s.gone:
		return err
	default:
	}
	// Turns, and not time, tell a stall: a process that did not run knows nothing of the
	// collector.
	stalled, still := false, time.Duration(0)
	for {
		if ctx.Err() != nil && s.last.IsZero() {
			s.last = time.Now().Add(grace)
		}
		if !s.last.IsZero() && time.Now().After(s.last) {
			return errEnded
		}
		n, err := s.write(m)
		m = m[n:]
		if len(m) == 0 {
			break
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if still += turn; n > 0 {
			still = 0
		}
		switch {
		case still > patience:
			return errStalled
		case still > time.Second && !stalled:
			stalled = true
			x.state(errStalled)
		}
	}
	if stalled {
		x.state(nil)
	}
	return nil
}

// state says when the collector is gone, and when it is back.
func (x *Exporter) state(err error) {
	x.mu.Lock()
	before, heard := x.err, x.heard
	x.err = err
	x.heard = heard || err == nil
	x.mu.Unlock()
	switch {
	case err != nil && before == nil:
		x.opts.Log.Warn("the IPFIX collector takes no records; they wait as long as there is room", "collector", x.opts.Collector, "err", err)
	case err == nil && (before != nil || !heard):
		x.opts.Log.Info("records go to the IPFIX collector", "collector", x.opts.Collector)
	}
}

// leave says what will never be sent.
func (x *Exporter) leave() {
	n := uint64(0)
	for x.more() {
		n += count(x.rest)
		x.rest = nil
	}
	if n > 0 {
		now := time.Now()
		x.lose(n, now, now)
		x.opts.Log.Warn("records never reach the IPFIX collector", "collector", x.opts.Collector, "records", n)
	}
}
