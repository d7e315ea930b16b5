package probe

import "net/netip"

// Target is the destination of a probe.
type Target struct {
	Address netip.AddrPort
	UDP     bool
	// Name is the host's name for TLS and HTTP; empty if only the address is known.
	Name string
}

// is4 reports whether the target has an IPv4 address.
func (t Target) is4() bool { return t.Address.Addr().Is4() }

// Headers returns the length of an IP header and a TCP header without options.
func (t Target) Headers() int {
	if t.is4() {
		return 40
	}
	return 60
}

// MinMTU is the smallest MTU that a link of the target's family may have (RFC 791, RFC 8200).
func (t Target) MinMTU() int {
	if t.is4() {
		return 68
	}
	return 1280
}
