package masq

import (
	"net/netip"
	"strings"
)

// Problem says what is wrong with a value of a configuration, and the remedy. The caller
// adds the value and its place.
type Problem struct{ Wrong, Remedy string }

// String returns the end of a message, for after the value.
func (p Problem) String() string { return p.Wrong + "; " + p.Remedy }

// ParsePrefix parses a prefix. It accepts neither an address nor bits beyond the length.
func ParsePrefix(s string) (netip.Prefix, *Problem) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" && !a.Is4In6() {
			return netip.Prefix{}, &Problem{"is an address, not a prefix", "write " + Quote(netip.PrefixFrom(a, a.BitLen()).String())}
		}
		return netip.Prefix{}, &Problem{"is not a prefix", "give one such as \"10.0.0.0/8\" or \"fd00::/8\""}
	}
	if a := p.Addr(); a.Is4In6() {
		remedy := "write it as IPv4"
		if mapped := p.Bits() - 96; mapped >= 0 {
			remedy = "write " + Quote(netip.PrefixFrom(a.Unmap(), mapped).Masked().String())
		}
		return netip.Prefix{}, &Problem{"is IPv4 mapped into IPv6", remedy}
	}
	if p != p.Masked() {
		return netip.Prefix{}, &Problem{"has bits beyond its length", "write " + Quote(p.Masked().String())}
	}
	return p, nil
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// ParseEgressAddress parses an address that can be the source of a node's packets.
func ParseEgressAddress(s string) (netip.Addr, *Problem) {
	const remedy = "give an address that the node is reached at, such as \"192.0.2.1\""
	a, err := netip.ParseAddr(s)
	var wrong string
	switch {
	case err != nil && strings.Contains(s, "/"):
		return netip.Addr{}, &Problem{"is not an address: it has a prefix length", "give addresses without prefix lengths"}
	case err != nil:
		wrong = "is not an address"
	case a.Zone() != "":
		wrong = "has a zone"
	case a.Is4In6():
		return netip.Addr{}, &Problem{"is IPv4 mapped into IPv6", "write " + Quote(a.Unmap().String())}
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
		return a, nil
	}
	return netip.Addr{}, &Problem{wrong, remedy}
}
