package natlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/safedir"
)

// Writer appends to a log. It is safe for concurrent use.
type Writer struct {
	opts Options
	lock *os.File
	full chan []row      // full batches for run; the channel has room for all batches
	sync chan chan error // requests of Flush
	stop chan struct{}
	done chan struct{}

	// Used by run only.
	disk    *disk
	waiting [][]row // batches that disk has not taken yet
	at      int     // number of rows of waiting[0] that disk has taken

	mu      sync.Mutex
	closed  bool
	owners  ownerTable
	batch   []row
	free    [][]row // empty batches
	batches int     // number of existing batches
	lost    lostRecords
	stats   Stats
}

// Stats describes a writer since it was opened.
type Stats struct {
	Appended uint64 // records that were queued
	Lost     uint64 // records that were dropped, and Lost of appended Gaps
	Written  uint64 // records that readers can read
	Bytes    int64  // size of all files of the log
	Files    int
	// Err is the reason if nothing can be written at present, such as a full disk.
	// Records wait in the queue.
	Err error
}

// lostRecords is the content of the next Gap record.
type lostRecords struct {
	count    uint64
	from, to int64
}

func (m *lostRecords) add(t int64) {
	if m.count == 0 {
		m.from, m.to = t, t
	}
	m.count++
	m.from, m.to = min(m.from, t), max(m.to, t)
}

// Open continues the log in a directory, and creates the directory if it does not exist. It
// truncates files that a killed writer left incomplete. If there are records, it appends a
// Gap from the last of them until now.
//
// The error is ErrLocked if another writer has locked the directory. A full disk is not an
// error: see Stats.Err.
func Open(dir string, o Options) (*Writer, error) { return open(dir, o, nil) }

// open is Open with a monotonic clock: elapsed returns the time since open. If it is nil,
// time.Since is used.
func open(dir string, o Options, elapsed func() time.Duration) (_ *Writer, err error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("NAT log: %w", err)
	}
	o = o.withDefaults()
	if elapsed == nil {
		start := time.Now()
		elapsed = func() time.Duration { return time.Since(start) }
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the NAT log: %w; choose a writable directory", err)
	}
	if err := safedir.CheckOwned(dir); err != nil {
		return nil, fmt.Errorf("NAT log: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	d, err := openDisk(dir, o, elapsed)
	if err != nil {
		return nil, err
	}
	w := &Writer{
		opts: o, lock: lock, disk: d,
		full: make(chan []row, o.QueueRecords/batchRecords),
		sync: make(chan chan error), stop: make(chan struct{}), done: make(chan struct{}),
	}
	w.updateStats()
	go w.run()
	return w, nil
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the NAT log: %w; choose a writable directory", err)
	}
	if info, err := f.Stat(); err != nil || !safedir.IsOwn(info) {
		return nil, errors.Join(fmt.Errorf("lock the NAT log: %s was not created by root; remove it", f.Name()), err, f.Close())
	}
	if err := safedir.TryLock(f); err != nil {
		if errors.Is(err, safedir.ErrLocked) {
			err = fmt.Errorf("%s: %w; stop the other program, or choose another directory", dir, ErrLocked)
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Append queues a copy of a record, which shares the strings of the owner. It never blocks on
// disk. If the queue is full, the record is dropped and counted, the error is ErrLost, and a
// Gap record follows as soon as there is room. Append allocates memory only for new owners
// and for a growing queue.
func (w *Writer) Append(r *Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	if w.batch == nil && !w.nextBatch() {
		return w.drop(r)
	}
	n := len(w.batch)
	x := &w.batch[:n+1][n]
	if err := x.set(r); err != nil {
		return err
	}
	if r.Kind != Gap {
		var err error
		if x.owner, err = w.owners.intern(&r.Owner); err != nil {
			return err
		}
	}
	w.batch = w.batch[:n+1]
	w.stats.Appended++
	if r.Kind == Gap {
		w.stats.Lost += r.Lost
	}
	if n+1 == cap(w.batch) {
		w.full <- w.batch // never blocks: the channel has room for all batches
		w.batch = nil
	}
	return nil
}

// drop counts a record that has no room in the queue. A dropped Gap extends the next one.
func (w *Writer) drop(r *Record) error {
	n := uint64(1)
	if r.Kind == Gap {
		n = r.Lost
		w.lost.add(r.Began().UnixMilli())
		w.lost.count--
	}
	w.lost.add(r.Time.UnixMilli())
	w.lost.count += n - 1
	w.stats.Lost += n
	return ErrLost
}

// nextBatch sets an empty batch. It returns false if the queue is full.
func (w *Writer) nextBatch() bool {
	switch n := len(w.free); {
	case n > 0:
		w.batch, w.free = w.free[n-1], w.free[:n-1]
	case w.batches < cap(w.full):
		w.batch = make([]row, 0, batchRecords)
		w.batches++
	default:
		return false
	}
	return true
}

// takeQueued returns all queued batches, and the lost records.
func (w *Writer) takeQueued() (batches [][]row, m lostRecords) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		select {
		case b := <-w.full:
			batches = append(batches, b)
			continue
		default:
		}
		break
	}
	if w.batch != nil {
		batches = append(batches, w.batch)
	}
	m = w.lost
	w.batch, w.lost = nil, lostRecords{}
	return batches, m
}

// spareBatches is the number of empty batches that are kept. More are freed after a burst.
const spareBatches = 4

// recycle keeps or frees a batch that disk has taken.
func (w *Writer) recycle(b []row) {
	if cap(b) != batchRecords {
		return // made by flush for a Gap
	}
	clear(b) // releases the owners
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.free) == spareBatches {
		w.batches--
		return
	}
	w.free = append(w.free, b[:0])
}

// Stats returns the present state. It may be called after Close.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}

func (w *Writer) updateStats() {
	s := w.disk.stats()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Written, w.stats.Bytes, w.stats.Files, w.stats.Err = s.Written, s.Bytes, s.Files, s.Err
}

// Flush makes all appended records readable, or returns why it cannot.
func (w *Writer) Flush() error {
	answer := make(chan error, 1)
	select {
	case w.sync <- answer:
		return <-answer
	case <-w.done:
		return ErrClosed
	}
}

// Close writes all queued records and the index of the segment, and unlocks the directory.
// Its error has the number of records that could not be written.
func (w *Writer) Close() error {
	w.mu.Lock()
	closed := w.closed
	w.closed = true
	w.mu.Unlock()
	if closed {
		<-w.done
		return nil
	}
	close(w.stop)
	<-w.done
	return errors.Join(w.unwritten(), w.disk.close(), w.lock.Close())
}

// unwritten returns an error if records cannot be written any more.
func (w *Writer) unwritten() error {
	n := len(w.disk.pending) - w.disk.flushed
	for i, b := range w.waiting {
		if n += len(b); i == 0 {
			n -= w.at
		}
	}
	batches, m := w.takeQueued()
	for _, b := range batches {
		n += len(b)
	}
	if n == 0 && m.count == 0 {
		return nil
	}
	return fmt.Errorf("NAT log %s: records lost: %d not written, %d dropped before: %w", w.disk.dir, n, m.count, w.disk.err)
}

// run writes to disk. While the disk takes no records, it leaves them in the queue.
func (w *Writer) run() {
	defer close(w.done)
	tick := time.NewTicker(w.opts.FlushInterval)
	defer tick.Stop()
	for {
		in := w.full
		if len(w.waiting) > 0 {
			in = nil
		}
		select {
		case b := <-in:
			w.waiting = append(w.waiting, b)
			_ = w.drain() // Stats has the error
		case <-tick.C:
			_ = w.flush()
		case answer := <-w.sync:
			answer <- w.flush()
		case <-w.stop:
			_ = w.flush() // unwritten returns the error
			return
		}
	}
}

// drain moves waiting batches to disk.pending.
func (w *Writer) drain() error {
	defer w.updateStats()
	for len(w.waiting) > 0 {
		n, err := w.disk.add(w.waiting[0][w.at:])
		if w.at += n; err != nil {
			return err
		}
		w.recycle(w.waiting[0])
		w.waiting, w.at = w.waiting[1:], 0
	}
	w.waiting = nil
	return nil
}

// flush writes all queued records to disk, and a Gap if records were lost.
func (w *Writer) flush() error {
	if err := w.drain(); err != nil {
		return err
	}
	batches, m := w.takeQueued()
	w.waiting = batches
	if m.count > 0 {
		w.waiting = append(w.waiting, []row{{kind: Gap, time: m.to, began: m.from, lost: m.count}})
	}
	if err := w.drain(); err != nil {
		return err
	}
	defer w.updateStats()
	return w.disk.flush()
}
