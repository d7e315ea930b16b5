package ruleset

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// HelperKey is the key of an element of the table for masqd's helpers.
type HelperKey struct {
	// Addr is the address and port of masqd in ListenerSet and SpokenMap, the attachment's
	// address and the destination's port in RedirectMap, and the address and port that was
	// announced in OpenedMap.
	Addr  netip.AddrPort
	Proto uint8 // IPPROTO_TCP or IPPROTO_UDP
	// Peer is the peer to which the port is open, in OpenedMap.
	Peer netip.Addr
}

// String returns the key in nft's notation.
func (k HelperKey) String() string {
	s := k.Addr.Addr().String() + " . " + protocolName(k.Proto) + " . " + strconv.Itoa(int(k.Addr.Port()))
	if k.Peer.IsValid() {
		s += " . " + k.Peer.String()
	}
	return s
}

// ParseHelperKey is the inverse of HelperKey.String.
func ParseHelperKey(text string) (k HelperKey, ok bool) {
	parts := strings.Split(text, " . ")
	if len(parts) != 3 && len(parts) != 4 {
		return HelperKey{}, false
	}
	addr, ok := parseAddrPort(parts[0], parts[2])
	proto, known := protocolNumbers[parts[1]]
	if !ok || !known {
		return HelperKey{}, false
	}
	k = HelperKey{Addr: addr, Proto: proto}
	if len(parts) == 4 {
		var err error
		if k.Peer, err = netip.ParseAddr(parts[3]); err != nil || k.Peer.Is4() != addr.Addr().Is4() {
			return HelperKey{}, false
		}
	}
	return k, true
}

// SpokenKey returns the key of SpokenMap for a connection of masqd.
func SpokenKey(local netip.AddrPort, proto uint8) string {
	return HelperKey{local, proto, netip.Addr{}}.String()
}

// OpenedKey returns the key of OpenedMap for a port that was announced to a peer.
func OpenedKey(egress netip.AddrPort, proto uint8, peer netip.Addr) string {
	return HelperKey{egress, proto, peer}.String()
}

// OpenedData returns the value of OpenedMap for the attachment's address and port.
func OpenedData(client netip.AddrPort) string {
	return fmt.Sprintf("%s . %d", client.Addr(), client.Port())
}

// ParseOpenedData is the inverse of OpenedData.
func ParseOpenedData(text string) (client netip.AddrPort, ok bool) {
	addr, port, ok := strings.Cut(text, " . ")
	if !ok {
		return netip.AddrPort{}, false
	}
	return parseAddrPort(addr, port)
}

func parseAddrPort(addr, port string) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(addr)
	p, errPort := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(a, uint16(p)), err == nil && errPort == nil
}

// protocolNumbers are the numbers of the transport protocols that helpers have (IANA).
var protocolNumbers = map[string]uint8{"tcp": 6, "udp": 17}

// protocolName returns the name of a protocol in nft's notation.
func protocolName(proto uint8) string {
	for name, n := range protocolNumbers {
		if n == proto {
			return name
		}
	}
	return strconv.Itoa(int(proto))
}
