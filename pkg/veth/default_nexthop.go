package veth

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// NextHop is a next hop of a default route.
type NextHop struct {
	Family      masq.Family
	Destination netip.Prefix // also 0.0.0.0/1 and the like, with which VPNs replace the default route
	Table       uint32
	Index       int
	Interface   string
	Gateway     netip.Addr // invalid for a route without one
	// RouteMTU is 0 for a route without an MTU.
	RouteMTU, InterfaceMTU int
	// RA is true if the route comes from a router advertisement.
	RA bool
	// Best is true for the route of the node's own packets without a mark.
	Best bool
}

// DefaultNextHops returns the next hops of the default routes of the families, in the main
// table and in each table that a routing rule leads to. It finds the routes as
// [Conn.Uplinks] does.
func (c *Conn) DefaultNextHops(families ...masq.Family) ([]NextHop, error) {
	var out []NextHop
	var indexes []int
	for _, f := range families {
		all, err := c.defaultRoutes(f)
		if err != nil {
			return nil, err
		}
		for i, h := range all {
			if h.kind != unix.RTN_UNICAST {
				continue
			}
			if len(h.indexes) == 0 && h.object != 0 {
				if h.indexes, err = c.host.objectIndexes(h.object); err != nil {
					return nil, err
				}
				h.gateways = nil
			}
			for n, index := range h.indexes {
				r := NextHop{
					Family: f, Destination: h.dst, Table: h.table, Index: index, RouteMTU: h.mtu,
					RA: h.protocol == unix.RTPROT_RA, Best: i == 0 && !h.listed,
				}
				if n < len(h.gateways) {
					r.Gateway = h.gateways[n]
				}
				// The lookup has found it already.
				if same := r; slices.ContainsFunc(out, func(o NextHop) bool { same.Best = o.Best; return o == same }) {
					continue
				}
				out, indexes = append(out, r), append(indexes, index)
			}
		}
	}
	devices, err := c.host.devicesAt(indexes)
	if err != nil {
		return nil, err
	}
	for i, d := range devices {
		if d.index == 0 || !d.leadsOutside() {
			out[i].Index = 0
			continue
		}
		out[i].Interface, out[i].InterfaceMTU = d.name, d.mtu
		if n, ok := d.setting6(devconf6MTU); ok && out[i].Family == masq.IPv6 && n > 0 {
			out[i].InterfaceMTU = min(d.mtu, n)
		}
	}
	return slices.DeleteFunc(out, func(r NextHop) bool { return r.Index == 0 }), nil
}

// gatewayOf returns the next hop of an attribute RTA_GATEWAY or RTA_VIA, which is a struct
// rtvia: 2 bytes family, address.
func gatewayOf(kind uint16, v []byte) netip.Addr {
	if kind == unix.RTA_VIA {
		v = netlink.After(v, 2)
	}
	a, _ := netip.AddrFromSlice(v)
	return a
}
