package portpool

// countMinSketch counts the flows of the groups that are not tracked, in constant memory. A
// count is never too low; it is too high if a group shares both its cells with others. It
// is a count-min sketch with conservative update (Cormode and Muthukrishnan, 2005; Estan
// and Varghese, 2002).
type countMinSketch struct {
	rows [2][sketchWidth]cell
}

const sketchWidth = 1 << 15

type cell struct {
	flows uint32
	// smallest is the size of the smallest pool that a group of the cell draws from; 0 if
	// none draws from a pool.
	smallest uint32
}

// share returns an upper bound of a group's share: its flows in the smallest of its pools.
func (c cell) share() float64 {
	if c.smallest == 0 {
		return 0
	}
	return float64(c.flows) / float64(c.smallest)
}

func (s *countMinSketch) cells(hash uint64) (a, b *cell) {
	return &s.rows[0][hash%sketchWidth], &s.rows[1][hash>>32%sketchWidth]
}

// add counts a flow that draws from a pool of this size; 0 if it draws from none.
func (s *countMinSketch) add(hash uint64, size uint32) {
	a, b := s.cells(hash)
	n := min(a.flows, b.flows) + 1
	for _, c := range [2]*cell{a, b} {
		c.flows = max(c.flows, n)
		if size != 0 && (c.smallest == 0 || size < c.smallest) {
			c.smallest = size
		}
	}
}

// bound returns an upper bound for every group with this hash.
func (s *countMinSketch) bound(hash uint64) cell {
	a, b := s.cells(hash)
	if a.smallest == 0 || b.smallest == 0 {
		return cell{flows: min(a.flows, b.flows)}
	}
	return cell{min(a.flows, b.flows), max(a.smallest, b.smallest)}
}
