package pressure

import "cmp"

// Use is how many of its ports a group has in use. Where its flows draw from several
// pools, it is of the pool that is the fullest.
type Use struct {
	Group
	// Ranges are the ports of the pool, and Usable is their number.
	Ranges []Range
	Usable int
	// Used are those of them that a flow has, whatever pool it draws from, and
	// whether it is translated or the node's own. Those of Closing are not among them
	// where the kernel gives them to new flows: Options.ReusesClosed.
	Used int
	// Closing are the ports of translated TCP flows that are closed and wait for their
	// time-out.
	Closing int
	// Holders are the sources that draw from the pool and have the most of Used, the
	// first with the most; empty unless Options.Holders asks for them. Ports of sources
	// that draw from another pool, and those of the node's own flows, have no holder.
	Holders []Holder
}

// Share is Used by Usable, from 0 to 1.
func (u *Use) Share() float64 { return float64(u.Used) / float64(u.Usable) }

// fuller puts the fullest first, and is 0 for the same group only.
func fuller(a, b *Use) int {
	return cmp.Or(cmp.Compare(b.Share(), a.Share()), cmp.Compare(b.Used, a.Used), a.compare(b.Group))
}
