package agentconf

import (
	"net/netip"
	"strings"
)

const (
	// mostAddresses bounds snatAddresses, of all files together: the kernel
	// chooses among them by a map whose size is theirs.
	mostAddresses = 64

	addressMend = "give an address that the node is reached at, such as \"192.0.2.1\""
)

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// snatAddresses reads the egress addresses and unites them with those of other
// files.
func (r *reader) snatAddresses(k key, v value) {
	for _, item := range r.texts(k.name, v, mostAddresses, "give a list of addresses such as [\"192.0.2.1\"]") {
		a, wrong, mend := parseAddress(item.text)
		if wrong != "" {
			r.fault(item.place, k.name, item.show(), wrong, mend)
			continue
		}
		r.again(k.name, item, before(r.s.snat, a), false)
		unite(r, k.name, &r.s.snat, found[netip.Addr]{item.place, a, item.show()}, mostAddresses)
	}
}

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
