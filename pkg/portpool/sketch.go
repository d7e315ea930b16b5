package portpool

// sketch counts the flows of all groups in little room: never too few, where groups
// share both their cells too many (a count-min sketch with conservative update;
// Cormode and Muthukrishnan, 2005; Estan and Varghese, 2002).
type sketch struct {
	cells [2][sketchWidth]cell
}

const sketchWidth = 1 << 15

type cell struct {
	flows uint32
	// least is the size of the smallest pool that a group of the cell draws from, 0
	// where none draws.
	least uint32
}

// share is of which a group has not more: its flows in the smallest of its pools.
func (c cell) share() float64 {
	if c.least == 0 {
		return 0
	}
	return float64(c.flows) / float64(c.least)
}

func (s *sketch) of(hash uint64) (a, b *cell) {
	return &s.cells[0][hash%sketchWidth], &s.cells[1][hash>>32%sketchWidth]
}

// add counts a flow that draws from a pool of a size; 0: from none.
func (s *sketch) add(hash uint64, size uint32) {
	a, b := s.of(hash)
	n := min(a.flows, b.flows) + 1
	for _, c := range [2]*cell{a, b} {
		c.flows = max(c.flows, n)
		if size != 0 && (c.least == 0 || size < c.least) {
			c.least = size
		}
	}
}

// bound is what no group with this hash has more of.
func (s *sketch) bound(hash uint64) cell {
	a, b := s.of(hash)
	if a.least == 0 || b.least == 0 {
		return cell{flows: min(a.flows, b.flows)}
	}
	return cell{min(a.flows, b.flows), max(a.least, b.least)}
}
