package cniconf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// mostAddresses bounds snatAddresses: the kernel chooses among them by a map
// whose size is theirs.
const mostAddresses = 64

const addressMend = "give an address that the node is reached at, such as \"192.0.2.1\""

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// parseAddress reads an address that packets can leave a node with. Where it is
// none, it says what is wrong and what to do.
func parseAddress(s string) (a netip.Addr, wrong, mend string) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		if strings.Contains(s, "/") {
			return a, "is not an address: it has a prefix length", "give each address by itself"
		}
		return a, "is not an address", addressMend
	}
	switch {
	case a.Zone() != "":
		wrong = "has a zone"
	case a.Is4In6():
		return netip.Addr{}, "is IPv4 mapped into IPv6", "write " + quote(a.Unmap().String())
	case a.IsUnspecified():
		wrong = "is the unspecified address"
	case a.IsLoopback():
		wrong = "is a loopback address"
	case a.IsMulticast():
		wrong = "is a multicast address"
	case a.IsLinkLocalUnicast():
		wrong = "is a link-local address"
	case a == broadcast:
		wrong = "is the broadcast address"
	default:
		return a, "", ""
	}
	return netip.Addr{}, wrong, addressMend
}

// snatAddresses reads the egress addresses.
func (r *reader) snatAddresses() []netip.Addr {
	const key = "snatAddresses"
	var out []netip.Addr
	for _, s := range r.texts(key, mostAddresses, "give a list of addresses such as [\"192.0.2.1\"]") {
		a, wrong, mend := parseAddress(s)
		switch {
		case wrong != "":
			r.add(key, quote(s), wrong, mend)
		case slices.Contains(out, a):
			r.add(key, quote(s), "given twice", "keep one")
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
			r.add("snatAddresses", quote(a.String()), fmt.Sprintf("the network has no IPv%s subnet", f),
				fmt.Sprintf("remove it, or give the network an IPv%s subnet", f))
		}
	}
}

func hasFamily(prefixes []netip.Prefix, f masq.Family) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return masq.FamilyOf(p.Addr()) == f })
}
