package masq

import (
	"net/netip"
	"sort"
)

// AddrRange is a range of addresses of one family, First and Last included.
type AddrRange struct {
	First, Last netip.Addr
}

// AddrRanges are ranges of one family in ascending order that neither overlap nor touch:
// the content of an nftables interval set.
type AddrRanges []AddrRange

// Contains reports whether an address is in one of the ranges.
func (r AddrRanges) Contains(a netip.Addr) bool {
	i := sort.Search(len(r), func(i int) bool { return r[i].Last.Compare(a) >= 0 })
	return i < len(r) && r[i].First.Compare(a) <= 0
}

// LastAddr returns the last address of a prefix.
func LastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Prefix returns the range as a prefix, if it is one.
func (r AddrRange) Prefix() (netip.Prefix, bool) {
	for bits := r.First.BitLen(); bits >= 0; bits-- {
		p := netip.PrefixFrom(r.First, bits)
		if p.Masked().Addr() != r.First {
			break
		}
		if LastAddr(p) == r.Last {
			return p, true
		}
	}
	return netip.Prefix{}, false
}
