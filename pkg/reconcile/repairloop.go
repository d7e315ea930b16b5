package reconcile

import "time"

const (
	// repairLoopLength is the number of successive repairs that counts as a repair loop.
	repairLoopLength = 20
	// repairLoopEnd is the time without a repair that ends a repair loop.
	repairLoopEnd = time.Second
)

// repairLoop counts successive repairs, to detect that another program changes the table
// again after each of them.
type repairLoop struct {
	repairs int
	last    time.Time
}

// add counts the repair of a sync, and reports whether it makes the repairs a repair loop.
func (r *repairLoop) add(started, ended time.Time) bool {
	if started.Sub(r.last) > repairLoopEnd {
		r.repairs = 0
	}
	r.repairs++
	r.last = ended
	return r.repairs == repairLoopLength
}

func (l *Loop) reportRepairLoop() {
	l.updateStats(func(s *Stats) { s.RepairLoops++ })
	l.deps.Log.Warn("repair loop: another program keeps changing table inet masq or the links of containers; each change is repaired, at a bounded pace", "repairs", repairLoopLength, "remedy", "stop that program; nft monitor shows its name")
}
