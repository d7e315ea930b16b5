package portpool

import "math/bits"

// ports is a set of ports, a bit each.
type ports [1 << 16 / 64]uint64

// add reports whether the port is new.
func (p *ports) add(port uint16) bool {
	bit := uint64(1) << (port % 64)
	old := p[port/64]
	p[port/64] = old | bit
	return old&bit == 0
}

// remove reports whether the port was there.
func (p *ports) remove(port uint16) bool {
	bit := uint64(1) << (port % 64)
	old := p[port/64]
	p[port/64] = old &^ bit
	return old&bit != 0
}

// ranks counts the ports of a set that are below the first of each word, so that
// ports within a range are counted without looking at each.
type ranks [1<<16/64 + 1]int32

func (r *ranks) set(p *ports) {
	var n int32
	for i, word := range p {
		r[i] = n
		n += int32(bits.OnesCount64(word))
	}
	r[len(p)] = n
}

// below counts the ports of the set that are below one; 65536 is above all.
func (r *ranks) below(p *ports, port int) int {
	if port%64 == 0 {
		return int(r[port/64])
	}
	return int(r[port/64]) + bits.OnesCount64(p[port/64]<<(64-port%64))
}

// within counts the ports of the set within ranges.
func (r *ranks) within(p *ports, ranges []Range) (n int) {
	for _, x := range ranges {
		n += r.below(p, int(x.Last)+1) - r.below(p, int(x.First))
	}
	return n
}
