package portpool

import "math/bits"

// ports is a set of ports, with a bit for each.
type ports [1 << 16 / 64]uint64

// add adds a port, and reports whether it was new.
func (p *ports) add(port uint16) bool {
	bit := uint64(1) << (port % 64)
	old := p[port/64]
	p[port/64] = old | bit
	return old&bit == 0
}

// remove removes a port, and reports whether it was in the set.
func (p *ports) remove(port uint16) bool {
	bit := uint64(1) << (port % 64)
	old := p[port/64]
	p[port/64] = old &^ bit
	return old&bit != 0
}

// ranks has for each word of a set the number of ports in the words before it, so that the
// ports within a range are counted in constant time.
type ranks [1<<16/64 + 1]int32

func (r *ranks) set(p *ports) {
	var n int32
	for i, word := range p {
		r[i] = n
		n += int32(bits.OnesCount64(word))
	}
	r[len(p)] = n
}

// below returns the number of ports of the set that are below port, which may be 65536.
func (r *ranks) below(p *ports, port int) int {
	if port%64 == 0 {
		return int(r[port/64])
	}
	return int(r[port/64]) + bits.OnesCount64(p[port/64]<<(64-port%64))
}

// within returns the number of ports of the set within ranges.
func (r *ranks) within(p *ports, ranges []Range) (n int) {
	for _, x := range ranges {
		n += r.below(p, int(x.Last)+1) - r.below(p, int(x.First))
	}
	return n
}
