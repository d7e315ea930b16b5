package ipfix

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/natlog"
)

// chunkBytes is the step in which the queue grows and shrinks, and what is sent at once:
// a dozen datagrams, which any socket has room for.
const chunkBytes = 16 << 10

// queue is the records that wait, as they are sent, in front of each its template and
// its length. It takes no more memory than it may, and gives back what a burst needed.
type queue struct {
	most int // chunks

	mu     sync.Mutex
	full   [][]byte // chunks, the oldest first; the last has room
	made   int      // chunks that exist, one in the hands of the reader among them
	spare  []byte
	record []byte // that is being made
	events map[uint16]*template
	taken  uint64 // records
	missed missed
	spell  spell
	closed bool

	some chan struct{} // there is something to tell
	much chan struct{} // there is a whole chunk
}

// missed is what was lost since the start.
type missed struct {
	count       uint64
	first, last time.Time
}

func (m *missed) add(n uint64, from, to time.Time) {
	if m.count == 0 {
		m.first = from
	}
	m.count += n
	if to.After(m.last) {
		m.last = to
	}
}

// calm is how long nothing is lost when a spell of losses is over.
const calm = 10 * time.Second

// spell is a time in which there was no room again and again.
type spell struct {
	on   bool
	last time.Time // that there was none
	from uint64    // what was lost before
}

func newQueue(bytes int, events map[uint16]*template) *queue {
	return &queue{most: max(bytes/chunkBytes, 2), events: events, some: make(chan struct{}, 1), much: make(chan struct{}, 1)}
}

const prefixBytes = 4

// put takes an event; nothing of it is held on to. It reports whether there was room,
// and whether a spell of losses began.
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
	if n := len(q.full); n == 0 || len(q.full[n-1])+len(r) > chunkBytes {
		if !q.grow() {
			if began = !q.spell.on; began {
				q.spell = spell{on: true, from: q.missed.count}
			}
			q.spell.last = time.Now()
			q.lose(1, e.Time, e.Time)
			return false, began, nil
		}
		if n > 0 {
			signal(q.much)
		}
	}
	last := len(q.full) - 1
	q.full[last] = append(q.full[last], r...)
	q.taken++
	signal(q.some)
	return true, false, nil
}

func (q *queue) grow() bool {
	switch {
	case q.spare != nil:
		q.full, q.spare = append(q.full, q.spare[:0]), nil
	case q.made < q.most:
		q.full = append(q.full, make([]byte, 0, chunkBytes))
		q.made++
	default:
		return false
	}
	return true
}

// lose counts what will not be sent. The lock is held.
func (q *queue) lose(n uint64, from, to time.Time) {
	if n == 0 {
		return
	}
	q.missed.add(n, from, to)
	signal(q.some)
}

// take is the oldest chunk, which has to be given back; nil where nothing waits.
func (q *queue) take() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.full) == 0 {
		return nil
	}
	c := q.full[0]
	q.full[0] = nil
	q.full = q.full[1:]
	return c
}

func (q *queue) giveBack(c []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.spare != nil {
		q.made--
		return
	}
	q.spare = c
}

func (q *queue) lost() missed {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.missed
}

// calmed reports whether a spell of losses goes on, and what one cost that is over
// now.
func (q *queue) calmed(now time.Time) (on bool, records uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.spell.on || now.Sub(q.spell.last) < calm {
		return q.spell.on, 0
	}
	q.spell.on = false
	return false, q.missed.count - q.spell.from
}

func (q *queue) counts() (taken, lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.taken, q.missed.count
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// next cuts the first record off a chunk.
func next(c []byte) (id uint16, record, rest []byte) {
	n := prefixBytes + int(binary.BigEndian.Uint16(c[2:]))
	return binary.BigEndian.Uint16(c), c[prefixBytes:n], c[n:]
}

// count is the number of records of a chunk.
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
