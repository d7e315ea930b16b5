package cniconf

import (
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// prefixes reads the list of prefixes at a key.
func (r *reader) prefixes(key string) []netip.Prefix {
	var out []netip.Prefix
	seen := map[netip.Prefix]bool{}
	for _, s := range r.texts(key, masq.MostPrefixes, "give a list of prefixes such as [\"10.0.0.0/8\"]") {
		p, bad := masq.ParsePrefix(s)
		switch {
		case bad != nil:
			r.add(key, masq.Quote(s), bad.Wrong, bad.Mend)
		case seen[p]:
			r.add(key, masq.Quote(s), "given twice", "keep one")
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
			r.add("masqueradeCIDRs", masq.Quote(p.String()), "is in nonMasqueradeCIDRs too", "keep one of them")
		}
	}
	return direct, masqueraded
}
