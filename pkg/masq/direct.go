package masq

import (
	"net/netip"
	"slices"
)

// AddrRange is a range of addresses of one family, both ends included.
type AddrRange struct {
	First, Last netip.Addr
}

// Destinations that are never masqueraded: multicast and the limited broadcast
// have no single receiver that could answer to a translated source. Directed
// broadcasts depend on the node's addresses and are left to the kernel's fib.
var never = []netip.Prefix{
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("ff00::/8"),
}

var (
	linkLocal4 = netip.MustParsePrefix("169.254.0.0/16")
	linkLocal6 = netip.MustParsePrefix("fe80::/10")
)

// Rank decides between prefixes of equal length: what may never be masqueraded,
// then what the user wrote, then what the product assumes.
const (
	rankAssumed = iota
	rankAsked
	rankNever
)

type decision struct {
	prefix netip.Prefix
	direct bool
	rank   int
}

func (p Policy) decisions() []decision {
	var out []decision
	add := func(direct bool, rank int, prefixes ...netip.Prefix) {
		for _, x := range prefixes {
			out = append(out, decision{x.Masked(), direct, rank})
		}
	}
	add(true, rankAsked, p.NonMasquerade...)
	add(false, rankAsked, p.Masquerade...)
	add(true, rankAssumed, p.Subnets...)
	if !p.LinkLocal4 {
		add(true, rankAssumed, linkLocal4)
	}
	if !p.LinkLocal6 {
		add(true, rankAssumed, linkLocal6)
	}
	add(true, rankNever, never...)
	return out
}

// IsDirect reports whether a destination is reached with the source address
// unchanged, as far as prefixes tell: the node's own addresses and its directed
// broadcasts are direct too.
func (p Policy) IsDirect(a netip.Addr) bool {
	if p.EgressDirect {
		return true
	}
	return decide(p.decisions(), a)
}

// decide takes a prefix that forbids before the longest, and the longest before
// what was assumed.
func decide(all []decision, a netip.Addr) bool {
	best := decision{}
	found := false
	for _, d := range all {
		if !d.prefix.Contains(a) {
			continue
		}
		if d.rank == rankNever {
			return true
		}
		if !found || d.prefix.Bits() > best.prefix.Bits() ||
			d.prefix.Bits() == best.prefix.Bits() && d.rank > best.rank {
			best, found = d, true
		}
	}
	return found && best.direct
}

// DirectRanges returns the direct destinations of one family as ranges that
// neither overlap nor touch, in ascending order: what an nftables interval set
// holds.
func (p Policy) DirectRanges(f Family) []AddrRange { return ranges(p.decisions(), f) }

// Union returns the addresses of one family that are in any of the prefixes, as
// ranges like those of DirectRanges.
func Union(prefixes []netip.Prefix, f Family) []AddrRange {
	var all []decision
	for _, x := range prefixes {
		all = append(all, decision{x.Masked(), true, rankAsked})
	}
	return ranges(all, f)
}

func ranges(decisions []decision, f Family) []AddrRange {
	var all []decision
	for _, d := range decisions {
		if FamilyOf(d.prefix.Addr()) == f {
			all = append(all, d)
		}
	}
	// Between two neighbouring bounds of prefixes the decision is the same
	// everywhere, so asking at each bound asks everywhere.
	var bounds []netip.Addr
	for _, d := range all {
		bounds = append(bounds, d.prefix.Addr())
		if next := LastOf(d.prefix).Next(); next.IsValid() {
			bounds = append(bounds, next)
		}
	}
	slices.SortFunc(bounds, netip.Addr.Compare)
	bounds = slices.Compact(bounds)

	var out []AddrRange
	for i, b := range bounds {
		if !decide(all, b) {
			continue
		}
		last := LastOf(netip.PrefixFrom(b, 0).Masked())
		if i+1 < len(bounds) {
			last = bounds[i+1].Prev()
		}
		if n := len(out); n > 0 && out[n-1].Last.Next() == b {
			out[n-1].Last = last
			continue
		}
		out = append(out, AddrRange{b, last})
	}
	return out
}

// LastOf is the last address of a prefix.
func LastOf(p netip.Prefix) netip.Addr {
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
		if LastOf(p) == r.Last {
			return p, true
		}
	}
	return netip.Prefix{}, false
}
