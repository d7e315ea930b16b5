package helpers

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// soOriginalDst is SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST of linux/netfilter_ipv4.h and
// linux/netfilter_ipv6/ip6_tables.h.
const soOriginalDst = 80

// originalDst returns the destination that a redirected TCP connection had. If it was not
// redirected, this is the local address.
func originalDst(c *net.TCPConn) (dst netip.AddrPort, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return dst, err
	}
	local, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok {
		return dst, errors.New("connection has no local address")
	}
	is4 := local.AddrPort().Addr().Unmap().Is4()
	errControl := raw.Control(func(fd uintptr) {
		if is4 {
			// The kernel writes a sockaddr_in, which is as long as an address of IPv6.
			var m *unix.IPv6Mreq
			if m, err = unix.GetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IP, soOriginalDst); err == nil {
				b := m.Multiaddr
				dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:4]))
			}
			return
		}
		// The kernel writes a sockaddr_in6.
		var m *unix.IPv6MTUInfo
		if m, err = unix.GetsockoptIPv6MTUInfo(int(fd), unix.IPPROTO_IPV6, soOriginalDst); err == nil {
			// The kernel writes the port in network byte order.
			var port [2]byte
			binary.NativeEndian.PutUint16(port[:], m.Addr.Port)
			dst = netip.AddrPortFrom(netip.AddrFrom16(m.Addr.Addr), binary.BigEndian.Uint16(port[:]))
		}
	})
	return dst, errors.Join(err, errControl)
}
