package portpool

import (
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// Losses counts packets of new flows that the kernel dropped, by cause, and flows that the
// kernel ended early.
type Losses struct {
	// NoPort counts packets that were dropped because another flow had the same addresses and
	// ports: no source port was free, or two flows drew the same port at the same moment.
	NoPort uint64
	// NoRoom counts packets that were dropped because the table was full and no flow could be
	// ended early, or because the kernel had no memory for the flow.
	NoRoom uint64
	// Evicted counts flows that were ended to make room in a full table.
	Evicted uint64
}

// LossesOf returns the losses since the network namespace was created. The kernel's counters
// of each CPU have 32 bits and wrap around.
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
// __nf_conntrack_confirm adds 1 to insert_failed and 1 to drop if a flow collides with
// another. It adds 1 to insert_failed and 1 to chaintoolong if a hash bucket is too long.
// nf_conntrack_in adds 1 only to drop if it has no room.
func lossesSince(before, after conntrack.Statistics) (l Losses) {
	noPort := uint32(after.InsertFailed-after.ChainTooLong) - uint32(before.InsertFailed-before.ChainTooLong)
	dropped := uint32(after.Drop) - uint32(before.Drop)
	// A collision of a flow that a program adds by netlink counts only in insert_failed. Linux
	// before 5.7 also counts collisions there that it then resolves.
	if dropped > noPort {
		l.NoRoom = uint64(dropped - noPort)
	}
	l.NoPort = uint64(noPort)
	l.Evicted = uint64(uint32(after.EarlyDrop) - uint32(before.EarlyDrop))
	return l
}

// RecentLossPeriod is how long a loss counts as recent after its last packet.
const RecentLossPeriod = 5 * time.Minute

// RecentLoss is one of the counts of Losses, if it has grown within RecentLossPeriod. It is
// zero otherwise.
type RecentLoss struct {
	// Count is the number of packets, or for Evicted of flows.
	Count uint64 `json:"count"`
	// Since is when the statistics were read before the first of them, and Last is when they
	// were read after the last.
	Since time.Time `json:"since"`
	Last  time.Time `json:"last"`
}

// LossTracker finds recent losses by comparing successive readings of the kernel's
// statistics. Losses before the first reading are not recent. It is used by one goroutine
// at a time.
type LossTracker struct {
	last                    map[int]conntrack.Statistics // by CPU
	read                    time.Time
	noPort, noRoom, evicted RecentLoss
}

// Add adds a reading, and returns the losses since the previous one: none for the first.
func (m *LossTracker) Add(now time.Time, all []conntrack.Statistics) (since Losses) {
	last := make(map[int]conntrack.Statistics, len(all))
	for i := range all {
		last[all[i].CPU] = all[i]
		if m.last != nil {
			since.add(lossesSince(m.last[all[i].CPU], all[i]))
		}
	}
	for r, n := range map[*RecentLoss]uint64{&m.noPort: since.NoPort, &m.noRoom: since.NoRoom, &m.evicted: since.Evicted} {
		r.add(m.read, now, n)
	}
	m.last, m.read = last, now
	return since
}

func (r *RecentLoss) add(before, now time.Time, n uint64) {
	if !r.Last.IsZero() && now.Sub(r.Last) >= RecentLossPeriod {
		*r = RecentLoss{}
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

// NoPort returns the recent growth of Losses.NoPort, as of the last reading.
func (m *LossTracker) NoPort() RecentLoss { return m.noPort }

// NoRoom returns the recent growth of Losses.NoRoom.
func (m *LossTracker) NoRoom() RecentLoss { return m.noRoom }

// Evicted returns the recent growth of Losses.Evicted.
func (m *LossTracker) Evicted() RecentLoss { return m.evicted }
