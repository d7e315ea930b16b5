package veth

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Route is a unicast route of the node.
type Route struct {
	Destination netip.Prefix
	Table       uint32
	Index       int        // interface; 0 if the route has several
	Gateway     netip.Addr // invalid for destinations on the link
	MTU         int        // 0 for none
}

// EachRoute calls f with each unicast route of a family, of all tables. A node can have a
// million routes, so f has to keep only what it needs. reset is called before the
// first, and again if the list changed while it was read.
func (c *Conn) EachRoute(family masq.Family, reset func(), f func(Route)) error {
	m := newMessage(unix.RTM_GETROUTE, 0, "list routes", unix.RtMsg{Family: familyNumber(family)})
	err := c.host.dump(m, reset, func(b []byte) {
		info, _, ok := decodeHeader[unix.RtMsg](b)
		if !ok || info.Flags&unix.RTM_F_CLONED != 0 || info.Type != unix.RTN_UNICAST {
			return
		}
		h, ok := readNextHops(b)
		if !ok {
			return
		}
		r := Route{Destination: h.dst, Table: h.table, MTU: h.mtu}
		if len(h.indexes) == 1 {
			r.Index = h.indexes[0]
		}
		if len(h.gateways) > 0 {
			r.Gateway = h.gateways[0]
		}
		f(r)
	})
	if errors.Is(err, netlink.ErrInterrupted) {
		err = nil // the last list may lack a route that was just added
	}
	return noRoutes(err)
}
