package cniconf

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// snatAddresses reads the egress addresses.
func (r *reader) snatAddresses() []netip.Addr {
	return r.egressAddresses("snatAddresses")
}

// snatAddressesRouted reads the egress addresses that are routed to the node. Each
// has to be one of snatAddresses, so that a typing error is not a second list.
func (r *reader) snatAddressesRouted(egress []netip.Addr) []netip.Addr {
	const key = "snatAddressesRouted"
	var out []netip.Addr
	for _, a := range r.egressAddresses(key) {
		if !slices.Contains(egress, a) {
			r.add(key, masq.Quote(a.String()), "is not one of snatAddresses", "add it to snatAddresses, or remove it")
			continue
		}
		out = append(out, a)
	}
	return out
}

func (r *reader) egressAddresses(key string) []netip.Addr {
	var out []netip.Addr
	for _, s := range r.texts(key, masq.MostAddresses, "give a list of addresses such as [\"192.0.2.1\"]") {
		a, bad := masq.ParseEgressAddress(s)
		switch {
		case bad != nil:
			r.add(key, masq.Quote(s), bad.Wrong, bad.Mend)
		case slices.Contains(out, a):
			r.add(key, masq.Quote(s), "given twice", "keep one")
		default:
			out = append(out, a)
		}
	}
	return out
}

// familiesOf reports egress addresses of a family that the network has no
// subnet of: nothing could ever leave with them. Where the subnets are unknown,
// PolicyFor does it by the addresses.
func (r *reader) familiesOf(egress []netip.Addr, subnets []netip.Prefix) {
	if len(subnets) == 0 {
		return
	}
	for _, a := range egress {
		f := masq.FamilyOf(a)
		if !hasFamily(subnets, f) {
			r.add("snatAddresses", masq.Quote(a.String()), fmt.Sprintf("the network has no IPv%s subnet", f),
				fmt.Sprintf("remove it, or give the network an IPv%s subnet", f))
		}
	}
}

func hasFamily(prefixes []netip.Prefix, f masq.Family) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return masq.FamilyOf(p.Addr()) == f })
}
