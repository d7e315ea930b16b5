package portpool

import "cmp"

// Usage describes the ports that a group has in use. If its flows draw from several pools,
// it describes the fullest of these.
type Usage struct {
	Group
	// Ranges are the ports of the pool, and Usable is the number of these ports.
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

// Share returns Used divided by Usable, from 0 to 1.
func (u *Usage) Share() float64 { return float64(u.Used) / float64(u.Usable) }

// compareUsage sorts the fullest group first. It returns 0 only for the same group.
func compareUsage(a, b *Usage) int {
	return cmp.Or(cmp.Compare(b.Share(), a.Share()), cmp.Compare(b.Used, a.Used), a.compare(b.Group))
}
