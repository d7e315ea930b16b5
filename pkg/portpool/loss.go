package portpool

import (
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// Losses count packets of new flows that the kernel dropped, by cause, and flows that
// it ended early.
type Losses struct {
	// NoPort are packets whose flow would have had the addresses and ports of another:
	// no source port was free, or two flows drew the same port at the same moment.
	NoPort uint64
	// NoRoom are packets for whose flow there was no room: the table was full and none
	// of its flows could be ended, or the kernel had no memory.
	NoRoom uint64
	// Evicted are flows that were ended to make room in a full table.
	Evicted uint64
}

// LossesOf returns the losses since the network namespace began. Each CPU has 32-bit
// counters, which wrap around to 0.
func LossesOf(all []conntrack.Statistics) (sum Losses) {
	for i := range all {
		sum.add(lossesSince(conntrack.Statistics{}, all[i]))
	}
	return sum
}

func (l *Losses) add(o Losses) {
	l.NoPort += o.NoPort
	l.NoRoom += o.NoRoom
	l.Evicted += o.Evicted
}

// lossesSince returns the losses of one CPU between two readings.
//
// __nf_conntrack_confirm adds 1 to insert_failed and 1 to drop for a flow that collides
// with another, and 1 to insert_failed and 1 to chaintoolong where a hash bucket is too
// long. nf_conntrack_in adds 1 to drop alone where it has no room.
func lossesSince(before, after conntrack.Statistics) (l Losses) {
	noPort := uint32(after.InsertFailed-after.ChainTooLong) - uint32(before.InsertFailed-before.ChainTooLong)
	dropped := uint32(after.Drop) - uint32(before.Drop)
	// Flows that a program enters by netlink, and that collide, count in insert_failed
	// alone. Linux before 5.7 counts there too what it then resolves.
	if dropped > noPort {
		l.NoRoom = uint64(dropped - noPort)
	}
	l.NoPort = uint64(noPort)
	l.Evicted = uint64(uint32(after.EarlyDrop) - uint32(before.EarlyDrop))
	return l
}

// LossMemory is how long after its last packet a loss is still recent.
const LossMemory = 5 * time.Minute

// Recent is a loss that has grown within the last five minutes, the zero value for one
// that has not.
type Recent struct {
	// Count is of packets, or flows, since Since, the reading before the first of them.
	Count uint64    `json:"count"`
	Since time.Time `json:"since"`
	Last  time.Time `json:"last"`
}

// LossMeter compares readings of the kernel's statistics. What happened before the first
// is not a recent loss. It is for one goroutine at a time.
type LossMeter struct {
	last                    map[int]conntrack.Statistics // by CPU
	read                    time.Time
	noPort, noRoom, evicted Recent
}

// Add takes a reading, and returns what came since the one before: nothing at first.
func (m *LossMeter) Add(now time.Time, all []conntrack.Statistics) (grown Losses) {
	last := make(map[int]conntrack.Statistics, len(all))
	for i := range all {
		last[all[i].CPU] = all[i]
		if m.last != nil {
			grown.add(lossesSince(m.last[all[i].CPU], all[i]))
		}
	}
	for r, n := range map[*Recent]uint64{&m.noPort: grown.NoPort, &m.noRoom: grown.NoRoom, &m.evicted: grown.Evicted} {
		r.add(m.read, now, n)
	}
	m.last, m.read = last, now
	return grown
}

func (r *Recent) add(before, now time.Time, n uint64) {
	if !r.Last.IsZero() && now.Sub(r.Last) >= LossMemory {
		*r = Recent{}
	}
	switch {
	case n == 0:
		return
	case r.Count == 0:
		r.Since = before
	}
	r.Count += n
	r.Last = now
}

// NoPort is the recent growth of Losses.NoPort, as of the last reading.
func (m *LossMeter) NoPort() Recent { return m.noPort }

// NoRoom is the recent growth of Losses.NoRoom.
func (m *LossMeter) NoRoom() Recent { return m.noRoom }

// Evicted is the recent growth of Losses.Evicted.
func (m *LossMeter) Evicted() Recent { return m.evicted }
