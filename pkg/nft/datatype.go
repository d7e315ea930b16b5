package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// datatype is a type of nft as the kernel stores it. number is used only by nft, when it
// lists the set (enum datatypes in its include/datatype.h).
type datatype struct {
	number uint32
	size   int
	append func([]byte, string) ([]byte, error)
	decode func([]byte) string
}

var datatypes = map[string]datatype{
	"ipv4_addr":    {7, 4, appendAddr, decodeAddr},
	"ipv6_addr":    {8, 16, appendAddr, decodeAddr},
	"inet_proto":   {12, 1, appendProtocol, decodeProtocol},
	"inet_service": {13, 2, appendPort, decodePort},
	"fib_addrtype": {38, 4, appendAddrType, decodeAddrType},
	"ifname":       {41, unix.IFNAMSIZ, appendName, decodeName},
}

func appendAddr(b []byte, s string) ([]byte, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return b, err
	}
	if a.Is4() {
		raw := a.As4()
		return append(b, raw[:]...), nil
	}
	raw := a.As16()
	return append(b, raw[:]...), nil
}

func decodeAddr(b []byte) string {
	a, _ := netip.AddrFromSlice(b)
	return a.String()
}

func appendPort(b []byte, s string) ([]byte, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return b, err
	}
	return binary.BigEndian.AppendUint16(b, uint16(n)), nil
}

func decodePort(b []byte) string { return strconv.Itoa(int(binary.BigEndian.Uint16(b))) }

func appendProtocol(b []byte, s string) ([]byte, error) {
	n, ok := transports[s]
	if !ok {
		return b, fmt.Errorf("%q is not a transport protocol", s)
	}
	return append(b, n), nil
}

func decodeProtocol(b []byte) string {
	for name, n := range transports {
		if n == b[0] {
			return name
		}
	}
	return strconv.Itoa(int(b[0]))
}

var addrTypes = map[string]uint32{
	"local": unix.RTN_LOCAL, "broadcast": unix.RTN_BROADCAST, "anycast": unix.RTN_ANYCAST, "multicast": unix.RTN_MULTICAST,
}

func appendAddrType(b []byte, s string) ([]byte, error) {
	n, ok := addrTypes[s]
	if !ok {
		return b, fmt.Errorf("%q is not an address type", s)
	}
	return binary.NativeEndian.AppendUint32(b, n), nil
}

func decodeAddrType(b []byte) string {
	n := binary.NativeEndian.Uint32(b)
	for name, v := range addrTypes {
		if v == n {
			return name
		}
	}
	return strconv.Itoa(int(n))
}

func appendName(b []byte, s string) ([]byte, error) {
	name, err := strconv.Unquote(s)
	if err != nil || len(name) >= unix.IFNAMSIZ || strings.IndexByte(name, 0) >= 0 {
		return b, fmt.Errorf("%s is not the quoted name of an interface", s)
	}
	return append(append(b, name...), zeros[:unix.IFNAMSIZ-len(name)]...), nil
}

// zeros pads names and registers.
var zeros [unix.IFNAMSIZ]byte

func decodeName(b []byte) string { return strconv.Quote(netlink.Text(b)) }
