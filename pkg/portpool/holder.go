package portpool

import (
	"cmp"
	"net/netip"
	"slices"
)

// Holder is a source that holds ports of a group.
type Holder struct {
	Source netip.Addr // before translation
	// Ports is the number of ports of the group that it holds. It is exact if the group has at
	// most maxSources sources, and a lower bound otherwise.
	Ports int
}

// maxSources is the number of sources of a group that are counted at the same time.
const maxSources = 64

// sources counts the ports that each source of a group holds, in constant memory. If
// there are more than maxSources sources, it finds those with the most ports by the
// Space-Saving algorithm (Metwally, Agrawal and El Abbadi, 2005).
type sources struct {
	all [maxSources]source
	n   int
}

type source struct {
	addr netip.Addr
	pool int32
	// ports is an upper bound: it includes up to excess ports of sources that this one
	// replaced.
	ports, excess int32
}

// add counts one port of a source that draws from a pool.
func (s *sources) add(addr netip.Addr, pool int32) {
	least := 0
	for i := range s.all[:s.n] {
		x := &s.all[i]
		if x.addr == addr && x.pool == pool {
			// Sources with many ports move to the front, where they are found sooner.
			if x.ports++; i > 0 && s.all[i-1].ports < x.ports {
				s.all[i-1], s.all[i] = s.all[i], s.all[i-1]
			}
			return
		}
		if x.ports < s.all[least].ports {
			least = i
		}
	}
	if s.n < len(s.all) {
		s.all[s.n] = source{addr: addr, pool: pool, ports: 1}
		s.n++
		return
	}
	replaced := s.all[least].ports
	s.all[least] = source{addr, pool, replaced + 1, replaced}
}

// top returns the n sources that hold the most ports of a pool.
func (s *sources) top(n int, pool int32) []Holder {
	var out []Holder
	for _, x := range s.all[:s.n] {
		if ports := int(x.ports - x.excess); x.pool == pool && ports > 0 {
			out = append(out, Holder{x.addr, ports})
		}
	}
	slices.SortFunc(out, func(a, b Holder) int { return cmp.Or(b.Ports-a.Ports, a.Source.Compare(b.Source)) })
	return out[:min(n, len(out))]
}
