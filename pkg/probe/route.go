package probe

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Route is the route of this namespace to an address.
type Route struct {
	Interface string
	// LinkMTU is the MTU of the interface. MTU is the MTU of the route, which is configured or
	// was learned by ICMP; without one, it is LinkMTU.
	LinkMTU, MTU int
	// Gateway is invalid if the address is on the link.
	Gateway netip.Addr
	Source  netip.Addr
}

// ErrNoRoute says that the namespace has no route to an address.
var ErrNoRoute = errors.New("no route")

// LookUp returns the route that a packet to an address takes.
func LookUp(to netip.Addr) (r Route, err error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, 8<<10)
	if err != nil {
		return r, err
	}
	defer func() { _ = c.Close() }()
	family := uint8(unix.AF_INET)
	if to.Is6() {
		family = unix.AF_INET6
	}
	header := make([]byte, unix.SizeofRtMsg) // struct rtmsg: family, length of the destination, ...
	header[0], header[1] = family, byte(to.BitLen())
	var attributes netlink.Encoder
	attributes.Bytes(unix.RTA_DST, to.AsSlice())
	m, err := c.Get(unix.RTM_GETROUTE, 0, header, attributes)
	for _, e := range []unix.Errno{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL, unix.EAGAIN} {
		if errors.Is(err, e) { // no route, unreachable, prohibit, blackhole, throw
			return r, ErrNoRoute
		}
	}
	if err != nil {
		return r, err
	}
	index := 0
	for typ, v := range netlink.All(netlink.After(m.Body, unix.SizeofRtMsg)) {
		switch typ {
		case unix.RTA_OIF:
			if len(v) == 4 {
				index = int(binary.NativeEndian.Uint32(v))
			}
		case unix.RTA_GATEWAY:
			r.Gateway, _ = netip.AddrFromSlice(v)
		case unix.RTA_VIA: // family, address
			r.Gateway, _ = netip.AddrFromSlice(netlink.After(v, 2))
		case unix.RTA_PREFSRC:
			r.Source, _ = netip.AddrFromSlice(v)
		case unix.RTA_METRICS:
			for metric, v := range netlink.All(v) {
				if metric == unix.RTAX_MTU && len(v) == 4 {
					r.MTU = int(binary.NativeEndian.Uint32(v))
				}
			}
		}
	}
	link, err := net.InterfaceByIndex(index)
	if err != nil {
		return r, err
	}
	r.Interface, r.LinkMTU = link.Name, link.MTU
	if r.MTU == 0 {
		r.MTU = link.MTU
	}
	return r, nil
}
