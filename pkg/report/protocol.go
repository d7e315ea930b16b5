package report

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// protocols are the protocols for which conntrack has more than addresses.
var protocols = [...]struct {
	number uint8
	name   string
}{
	{unix.IPPROTO_TCP, "tcp"},
	{unix.IPPROTO_UDP, "udp"},
	{unix.IPPROTO_ICMP, "icmp"},
	{unix.IPPROTO_ICMPV6, "icmpv6"},
	{unix.IPPROTO_SCTP, "sctp"},
	{unix.IPPROTO_UDPLITE, "udplite"},
	{unix.IPPROTO_DCCP, "dccp"},
	{unix.IPPROTO_GRE, "gre"},
}

// Protocol returns the name of a transport protocol in lower case, or its number.
func Protocol(number uint8) string {
	for _, p := range protocols {
		if p.number == number {
			return p.name
		}
	}
	return strconv.Itoa(int(number))
}

// ParseProtocol is the inverse of Protocol. ok is false if s is neither a known name nor a
// number from 1 to 255.
func ParseProtocol(s string) (number uint8, ok bool) {
	for _, p := range protocols {
		if p.name == s {
			return p.number, true
		}
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return uint8(n), err == nil && n != 0
}

// Protocols returns all names of Protocol.
func Protocols() []string {
	var out []string
	for _, p := range protocols {
		out = append(out, p.name)
	}
	return out
}
