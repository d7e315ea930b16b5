package ipfix

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/natlog"
)

// chunkBytes is the unit in which the queue grows, shrinks and is sent: a dozen datagrams,
// which fit every socket's buffer.
const chunkBytes = 16 << 10

// queue holds encoded records, each after its template ID and its length. It has at most
// maxChunks chunks, and frees them after a burst.
type queue struct {
	maxChunks int

	mu        sync.Mutex
	chunks    [][]byte // oldest first; only the last has room
	allocated int      // number of chunks, including the chunk that take returned
	spare     []byte
	record    []byte // the record that put encodes
	events    map[uint16]*template
	appended  uint64 // number of records
	lost      lostRecords
	period    lossPeriod
	closed    bool

	notEmpty   chan struct{} // records or statistics can be sent
	chunkReady chan struct{} // a chunk is full
}

// lostRecords counts records that were not sent.
type lostRecords struct {
	count       uint64
	first, last time.Time
}

func (m *lostRecords) add(n uint64, from, to time.Time) {
	if m.count == 0 {
		m.first = from
	}
	m.count += n
	if to.After(m.last) {
		m.last = to
	}
}

// recoveryDelay is the time without losses after which a loss period is over.
const recoveryDelay = 10 * time.Second

// lossPeriod is a period in which the queue was full at least every recoveryDelay. It is
// logged once.
type lossPeriod struct {
	on   bool
	last time.Time // the last time when the queue was full
	from uint64    // number of records lost before
}

func newQueue(bytes int, events map[uint16]*template) *queue {
	return &queue{maxChunks: max(bytes/chunkBytes, 2), events: events, notEmpty: make(chan struct{}, 1), chunkReady: make(chan struct{}, 1)}
}

const prefixBytes = 4

// put encodes and queues a record. It reports whether there was room, and whether a loss
// period began.
func (q *queue) put(id uint16, e *natlog.Record) (ok, began bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false, false, ErrClosed
	}
	r := append(binary.BigEndian.AppendUint16(q.record[:0], id), 0, 0)
	if r, err = q.events[id].append(r, e); err != nil {
		return false, false, err
	}
	binary.BigEndian.PutUint16(r[2:], uint16(len(r)-prefixBytes))
	q.record = r
	if n := len(q.chunks); n == 0 || len(q.chunks[n-1])+len(r) > chunkBytes {
		if !q.grow() {
			if began = !q.period.on; began {
				q.period = lossPeriod{on: true, from: q.lost.count}
			}
			q.period.last = time.Now()
			q.countLost(1, e.Time, e.Time)
			return false, began, nil
		}
		if n > 0 {
			signal(q.chunkReady)
		}
	}
	last := len(q.chunks) - 1
	q.chunks[last] = append(q.chunks[last], r...)
	q.appended++
	signal(q.notEmpty)
	return true, false, nil
}

func (q *queue) grow() bool {
	switch {
	case q.spare != nil:
		q.chunks, q.spare = append(q.chunks, q.spare[:0]), nil
	case q.allocated < q.maxChunks:
		q.chunks = append(q.chunks, make([]byte, 0, chunkBytes))
		q.allocated++
	default:
		return false
	}
	return true
}

// countLost counts n lost records. The caller holds the lock.
func (q *queue) countLost(n uint64, from, to time.Time) {
	if n == 0 {
		return
	}
	q.lost.add(n, from, to)
	signal(q.notEmpty)
}

// take returns the oldest chunk, or nil. The caller must call giveBack.
func (q *queue) take() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.chunks) == 0 {
		return nil
	}
	c := q.chunks[0]
	q.chunks[0] = nil
	q.chunks = q.chunks[1:]
	return c
}

func (q *queue) giveBack(c []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.spare != nil {
		q.allocated--
		return
	}
	q.spare = c
}

func (q *queue) lostRecords() lostRecords {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}

// lossPeriodState reports whether a loss period continues. If it has just ended, records is
// the number of records that were lost in it.
func (q *queue) lossPeriodState(now time.Time) (on bool, records uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.period.on || now.Sub(q.period.last) < recoveryDelay {
		return q.period.on, 0
	}
	q.period.on = false
	return false, q.lost.count - q.period.from
}

func (q *queue) counts() (appended, lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.appended, q.lost.count
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// next splits the first record from a chunk.
func next(c []byte) (id uint16, record, rest []byte) {
	n := prefixBytes + int(binary.BigEndian.Uint16(c[2:]))
	return binary.BigEndian.Uint16(c), c[prefixBytes:n], c[n:]
}

// count returns the number of records of a chunk.
func count(c []byte) (n uint64) {
	for len(c) > 0 {
		_, _, c = next(c)
		n++
	}
	return n
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
