package cniconf

import (
	"net/netip"
	"slices"
)

// mostPrefixes bounds each list of prefixes. Lists of destinations have tens; a
// set of thousands is put into the kernel anew for each policy.
const mostPrefixes = 1024

// parsePrefix reads a prefix strictly. Where it is none, it says what is wrong
// and what to do.
func parsePrefix(s string) (p netip.Prefix, wrong, mend string) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" && !a.Is4In6() {
			return p, "is an address, not a prefix", "write " + quote(netip.PrefixFrom(a, a.BitLen()).String())
		}
		return netip.Prefix{}, "is not a prefix", "give one such as \"10.0.0.0/8\" or \"fd00::/8\""
	}
	if a := p.Addr(); a.Is4In6() {
		mend = "write it as IPv4"
		if mapped := p.Bits() - 96; mapped >= 0 {
			mend = "write " + quote(netip.PrefixFrom(a.Unmap(), mapped).Masked().String())
		}
		return netip.Prefix{}, "is IPv4 mapped into IPv6", mend
	}
	if p != p.Masked() {
		return netip.Prefix{}, "has bits beyond its length", "write " + quote(p.Masked().String())
	}
	return p, "", ""
}

// prefixes reads the list of prefixes at a key.
func (r *reader) prefixes(key string) []netip.Prefix {
	var out []netip.Prefix
	seen := map[netip.Prefix]bool{}
	for _, s := range r.texts(key, mostPrefixes, "give a list of prefixes such as [\"10.0.0.0/8\"]") {
		p, wrong, mend := parsePrefix(s)
		switch {
		case wrong != "":
			r.add(key, quote(s), wrong, mend)
		case seen[p]:
			r.add(key, quote(s), "given twice", "keep one")
		default:
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}

// destinations reads the two lists that decide which destinations are direct.
// The longest prefix decides between them, so one in both decides nothing.
func (r *reader) destinations() (direct, masqueraded []netip.Prefix) {
	direct, masqueraded = r.prefixes("nonMasqueradeCIDRs"), r.prefixes("masqueradeCIDRs")
	for _, p := range masqueraded {
		if slices.Contains(direct, p) {
			r.add("masqueradeCIDRs", quote(p.String()), "is in nonMasqueradeCIDRs too", "keep one of them")
		}
	}
	return direct, masqueraded
}
