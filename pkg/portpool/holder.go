package portpool

import (
	"cmp"
	"net/netip"
	"slices"
)

// Holder is a source that holds ports of a group.
type Holder struct {
	Source netip.Addr // before translation
	// Ports is how many ports of the group it holds: exact where the group has at most
	// maxSources sources, at least so many otherwise.
	Ports int
}

// maxSources is how many sources of a group are counted at a time.
const maxSources = 64

// sources counts the ports that each source of a group holds, in constant memory. If
// there are more than maxSources sources, it finds the ones that hold the most ports
// (Space-Saving; Metwally, Agrawal and El Abbadi, 2005).
type sources struct {
	all [maxSources]source
	n   int
}

type source struct {
	addr netip.Addr
	pool int32
	// ports may include up to over ports of sources that were counted here before.
	ports, over int32
}

// add counts a port of a source that draws from a pool.
func (s *sources) add(addr netip.Addr, pool int32) {
	least := 0
	for i := range s.all[:s.n] {
		x := &s.all[i]
		if x.addr == addr && x.pool == pool {
			// Sources with many ports come first, where they are found soon.
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
	was := s.all[least].ports
	s.all[least] = source{addr, pool, was + 1, was}
}

// most returns the n sources that hold the most of a pool's ports.
func (s *sources) most(n int, pool int32) []Holder {
	var out []Holder
	for _, x := range s.all[:s.n] {
		if ports := int(x.ports - x.over); x.pool == pool && ports > 0 {
			out = append(out, Holder{x.addr, ports})
		}
	}
	slices.SortFunc(out, func(a, b Holder) int { return cmp.Or(b.Ports-a.Ports, a.Source.Compare(b.Source)) })
	return out[:min(n, len(out))]
}
