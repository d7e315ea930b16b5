package masq

import "net/netip"

// Family is an address family.
type Family uint8

// The two families. Their values are those of the version field of a packet.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// Families lists both, in the order in which everything is listed.
var Families = [2]Family{IPv4, IPv6}

// FamilyOf returns the family of an address; one that is IPv4 mapped into IPv6
// counts as IPv6, since that is how it would travel.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// Bits is the length of an address in bits: 32 or 128.
func (f Family) Bits() int {
	if f == IPv4 {
		return 32
	}
	return 128
}

// String is "4" or "6", the suffix of names in the ruleset.
func (f Family) String() string {
	if f == IPv4 {
		return "4"
	}
	return "6"
}
