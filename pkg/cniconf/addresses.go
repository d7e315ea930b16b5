package cniconf

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// addresses reads a list of egress addresses.
func (r *reader) addresses(key string) []conftree.Found[netip.Addr] {
	v, given := r.value(key)
	if !given {
		return nil
	}
	return r.EgressAddresses(key, v)
}

// egressFamilies adds a fault for each egress address of a family that the network has
// no subnet of: no container could ever use the address. If the subnets are unknown,
// PolicyFor checks the addresses of the attachment.
func (r *reader) egressFamilies(egress []conftree.Found[netip.Addr], subnets []netip.Prefix) {
	if len(subnets) == 0 {
		return
	}
	for _, a := range egress {
		if f := masq.FamilyOf(a.Value); !hasFamily(subnets, f) {
			r.familyFault(a.Place, a.Shown, f, fmt.Sprintf("the network has no IPv%s subnet", f))
		}
	}
}

func (r *reader) familyFault(at conftree.Place, address string, f masq.Family, why string) {
	r.Fault(at, "snatAddresses", address, "cannot be used: "+why, fmt.Sprintf("remove it, or give the network an IPv%s subnet", f))
}

func hasFamily(prefixes []netip.Prefix, f masq.Family) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return masq.FamilyOf(p.Addr()) == f })
}
