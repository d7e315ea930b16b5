package masq

import (
	"net/netip"
	"slices"
)

// neverMasqueraded are destinations without a single receiver that could reply to a
// translated source: multicast and the limited broadcast. Directed broadcasts depend on the
// node's addresses: a rule looks them up in the kernel's fib.
var neverMasqueraded = []netip.Prefix{
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("ff00::/8"),
}

var (
	linkLocal4 = netip.MustParsePrefix("169.254.0.0/16")
	linkLocal6 = netip.MustParsePrefix("fe80::/10")
)

// The rank decides between prefixes of equal length: the higher rank applies.
const (
	rankDefault    = iota // link-local prefixes and the network's subnets
	rankConfigured        // prefixes of the configuration
	rankNever             // neverMasqueraded: applies even if another prefix is longer
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
	add(true, rankConfigured, p.NonMasquerade...)
	add(false, rankConfigured, p.Masquerade...)
	add(true, rankDefault, p.Subnets...)
	if !p.LinkLocal4 {
		add(true, rankDefault, linkLocal4)
	}
	if !p.LinkLocal6 {
		add(true, rankDefault, linkLocal6)
	}
	add(true, rankNever, neverMasqueraded...)
	return out
}

// isDirect reports whether the decisions make a destination direct: the longest prefix
// decides, unless a prefix of rankNever has the destination.
func isDirect(all []decision, a netip.Addr) bool {
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

// DirectRanges returns the destinations of one family that are reached with the source
// address unchanged. The node's own addresses and its directed broadcasts are direct too,
// and not among the ranges; a policy with EgressDirect has no use for them.
func (p Policy) DirectRanges(f Family) AddrRanges { return ranges(p.decisions(), f) }

// Union returns the addresses of one family that are in any of the prefixes.
func Union(prefixes []netip.Prefix, f Family) AddrRanges {
	var all []decision
	for _, x := range prefixes {
		all = append(all, decision{x.Masked(), true, rankConfigured})
	}
	return ranges(all, f)
}

func ranges(decisions []decision, f Family) AddrRanges {
	var all []decision
	for _, d := range decisions {
		if FamilyOf(d.prefix.Addr()) == f {
			all = append(all, d)
		}
	}
	// The decision is the same for all addresses between two bounds of prefixes.
	var bounds []netip.Addr
	for _, d := range all {
		bounds = append(bounds, d.prefix.Addr())
		if next := LastAddr(d.prefix).Next(); next.IsValid() {
			bounds = append(bounds, next)
		}
	}
	slices.SortFunc(bounds, netip.Addr.Compare)
	bounds = slices.Compact(bounds)

	var out AddrRanges
	for i, b := range bounds {
		if !isDirect(all, b) {
			continue
		}
		last := LastAddr(netip.PrefixFrom(b, 0).Masked())
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
