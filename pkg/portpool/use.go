package portpool

import "cmp"

// Use is how many of its ports a group has in use. Where its flows draw from several
// pools, it is of the pool that is the fullest.
type Use struct {
	Group
	// Ranges are the ports of the pool, and Usable is their number.
	Ranges []Range
	Usable int
	// Used is the number of ports of the pool that flows of the group use. It includes
	// flows that draw from another pool and the node's own flows. It excludes the ports
	// of Closing if the kernel gives these to new flows: Options.ReusesClosed.
	Used int
	// Closing is the number of ports of translated TCP flows that are closed and wait
	// for their timeout.
	Closing int
	// Holders are the sources that draw from the pool and hold the most ports of Used,
	// in descending order. It is empty unless Options.Holders is set. Ports of sources
	// that draw from another pool, and of the node's own flows, have no holder.
	Holders []Holder
}

// Share is Used by Usable, from 0 to 1.
func (u *Use) Share() float64 { return float64(u.Used) / float64(u.Usable) }

// fuller puts the fullest first, and is 0 for the same group only.
func fuller(a, b *Use) int {
	return cmp.Or(cmp.Compare(b.Share(), a.Share()), cmp.Compare(b.Used, a.Used), a.compare(b.Group))
}
