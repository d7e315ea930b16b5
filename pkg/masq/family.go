package masq

import "net/netip"

// Family is an address family.
type Family uint8

// The two families. Their values are the IP version numbers.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// Families lists both families in the order of all lists.
var Families = [2]Family{IPv4, IPv6}

// FamilyOf returns the family of an address. IPv4 mapped into IPv6 is IPv6, as in a packet.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// Bits returns the length of an address in bits: 32 or 128.
func (f Family) Bits() int {
	if f == IPv4 {
		return 32
	}
	return 128
}

// String returns "4" or "6", the suffix of names in the ruleset.
func (f Family) String() string {
	if f == IPv4 {
		return "4"
	}
	return "6"
}
