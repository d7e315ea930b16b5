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

// Writer appends to a log. Its methods may be called at the same time.
type Writer struct {
	opts Options
	lock *os.File
	flow chan []row      // batches for the disk; all that exist have room in it
	sync chan chan error // Flush
	stop chan struct{}
	done chan struct{}

	// The writing goroutine's alone.
	disk    *disk
	waiting [][]row // batches that there is no room for yet
	at      int     // of the first, so many rows are done

	mu     sync.Mutex
	closed bool
	owners owners
	batch  []row
	free   [][]row
	made   int // batches that exist
	missed missed
	stats  Stats
}

// Stats is what a writer did since it was opened.
type Stats struct {
	Appended uint64 // records that were taken
	Lost     uint64 // records that were not, and those of gaps that were appended
	Written  uint64 // records that readers see
	Bytes    int64  // of all files of the log
	Files    int
	// Err is why nothing can be written at the moment, such as a full disk. Records
	// wait in the queue meanwhile.
	Err error
}

// missed is what the next gap record will say.
type missed struct {
	count    uint64
	from, to int64
}

func (m *missed) add(t int64) {
	if m.count == 0 {
		m.from, m.to = t, t
	}
	m.count++
	m.from, m.to = min(m.from, t), max(m.to, t)
}

// Open takes up the log in a directory, which is made where it is missing. What a
// killed writer left unfinished is put in order. The log then begins with a gap that
// tells since when nobody wrote, unless it is new.
//
// ErrLocked: the directory has a writer. Records that an earlier writer left, and
// that cannot be moved on for want of space, are no error: see Stats.
func Open(dir string, o Options) (*Writer, error) { return open(dir, o, nil) }

// open takes the time that passed since, whatever the clock was set to.
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
		return nil, fmt.Errorf("make the directory of the NAT log: %w; give one that can be written to", err)
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
		flow: make(chan []row, o.QueueRecords/batchRecords),
		sync: make(chan chan error), stop: make(chan struct{}), done: make(chan struct{}),
	}
	w.report()
	go w.run()
	return w, nil
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the NAT log: %w; give a directory that can be written to", err)
	}
	if info, err := f.Stat(); err != nil || !safedir.IsOwn(info) {
		return nil, errors.Join(fmt.Errorf("lock the NAT log: %s was not made by root; remove it", f.Name()), err, f.Close())
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%s: %w; stop the other program, or give another directory", dir, ErrLocked)
		} else {
			err = os.NewSyscallError("flock "+f.Name(), err)
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Append takes a record; nothing of it is held on to but the strings of its owner. It
// never waits for the disk: where the queue is full the record is counted, the error
// is ErrLost, and a gap record follows as soon as there is room. Nothing is allocated
// for a record, only for an attachment or a queue that grows.
func (w *Writer) Append(r *Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	if w.batch == nil && !w.nextBatch() {
		return w.lose(r)
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
		w.flow <- w.batch // there are no more batches than have room in it
		w.batch = nil
	}
	return nil
}

// lose counts a record that there is no room for. What a gap stood for goes on.
func (w *Writer) lose(r *Record) error {
	n := uint64(1)
	if r.Kind == Gap {
		n = r.Lost
		w.missed.add(r.Began().UnixMilli())
		w.missed.count--
	}
	w.missed.add(r.Time.UnixMilli())
	w.missed.count += n - 1
	w.stats.Lost += n
	return ErrLost
}

func (w *Writer) nextBatch() bool {
	switch n := len(w.free); {
	case n > 0:
		w.batch, w.free = w.free[n-1], w.free[:n-1]
	case w.made < cap(w.flow):
		w.batch = make([]row, 0, batchRecords)
		w.made++
	default:
		return false
	}
	return true
}

// take is what was appended and the disk has not, and what was lost.
func (w *Writer) take() (batches [][]row, m missed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		select {
		case b := <-w.flow:
			batches = append(batches, b)
			continue
		default:
		}
		break
	}
	if w.batch != nil {
		batches = append(batches, w.batch)
	}
	m = w.missed
	w.batch, w.missed = nil, missed{}
	return batches, m
}

// spareBatches is how many are held ready. More were needed for a burst only.
const spareBatches = 4

func (w *Writer) giveBack(b []row) {
	if cap(b) != batchRecords {
		return // a gap of ours
	}
	clear(b) // owners may be forgotten
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.free) == spareBatches {
		w.made--
		return
	}
	w.free = append(w.free, b[:0])
}

// Stats may be called at any time.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}

func (w *Writer) report() {
	s := w.disk.stats()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Written, w.stats.Bytes, w.stats.Files, w.stats.Err = s.Written, s.Bytes, s.Files, s.Err
}

// Flush returns when readers see all that was appended before, or cannot be made to.
func (w *Writer) Flush() error {
	answer := make(chan error, 1)
	select {
	case w.sync <- answer:
		return <-answer
	case <-w.done:
		return ErrClosed
	}
}

// Close writes what waits, ends the file with its index, and lets the next writer
// have the directory. An error says how many records could not be written.
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
	return errors.Join(w.left(), w.disk.close(), w.lock.Close())
}

// left is how many records will never be written.
func (w *Writer) left() error {
	n := len(w.disk.pending) - w.disk.flushed
	for i, b := range w.waiting {
		if n += len(b); i == 0 {
			n -= w.at
		}
	}
	batches, m := w.take()
	for _, b := range batches {
		n += len(b)
	}
	if n == 0 && m.count == 0 {
		return nil
	}
	return fmt.Errorf("%s: %d records are lost, %d before: %w", w.disk.dir, n, m.count, w.disk.err)
}

// run owns the disk. While that takes nothing, the queue is left to fill.
func (w *Writer) run() {
	defer close(w.done)
	tick := time.NewTicker(w.opts.FlushInterval)
	defer tick.Stop()
	for {
		in := w.flow
		if len(w.waiting) > 0 {
			in = nil
		}
		select {
		case b := <-in:
			w.waiting = append(w.waiting, b)
			_ = w.drain() // Stats has it
		case <-tick.C:
			_ = w.flush()
		case answer := <-w.sync:
			answer <- w.flush()
		case <-w.stop:
			_ = w.flush() // left has it
			return
		}
	}
}

// drain moves what waits to the disk's memory.
func (w *Writer) drain() error {
	defer w.report()
	for len(w.waiting) > 0 {
		n, err := w.disk.add(w.waiting[0][w.at:])
		if w.at += n; err != nil {
			return err
		}
		w.giveBack(w.waiting[0])
		w.waiting, w.at = w.waiting[1:], 0
	}
	w.waiting = nil
	return nil
}

// flush brings everything to the disk, and a gap for what was lost.
func (w *Writer) flush() error {
	if err := w.drain(); err != nil {
		return err
	}
	batches, m := w.take()
	w.waiting = batches
	if m.count > 0 {
		w.waiting = append(w.waiting, []row{{kind: Gap, time: m.to, began: m.from, lost: m.count}})
	}
	if err := w.drain(); err != nil {
		return err
	}
	defer w.report()
	return w.disk.flush()
}
