package veth

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// A header is the fixed struct before the attributes of an rtnetlink message. Where the
// kernel needs nothing but the family, an array of the struct's size is sent.
type header interface {
	unix.IfInfomsg | unix.IfAddrmsg | unix.RtMsg | unix.NdMsg |
		familyHeader | ruleHeader | nexthopHeader
}

type (
	familyHeader  [4]byte  // struct rtgenmsg, netconfmsg or ndtmsg, padded
	ruleHeader    [12]byte // struct fib_rule_hdr of linux/fib_rules.h
	nexthopHeader [8]byte  // struct nhmsg of linux/nexthop.h
)

// encodeHeader returns the bytes of a header.
func encodeHeader[H header](h H) []byte {
	return slices.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&h)), unsafe.Sizeof(h)))
}

// decodeHeader splits the body of a message into its header and its attributes. It
// returns false if the body is shorter than the header.
func decodeHeader[H header](body []byte) (h H, attributes []byte, ok bool) {
	n := copy(unsafe.Slice((*byte)(unsafe.Pointer(&h)), unsafe.Sizeof(h)), body)
	return h, body[n:], n == int(unsafe.Sizeof(h))
}

// readUint32 reads a number in the byte order of the machine; 0 if b is too short.
func readUint32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

// familyOf returns the address family of an address: AF_INET or AF_INET6.
func familyOf(a netip.Addr) uint8 { return familyNumber(masq.FamilyOf(a)) }

// familyNumber returns the kernel's number of a family: AF_INET or AF_INET6.
func familyNumber(f masq.Family) uint8 {
	if f == masq.IPv4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
