package veth

import (
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"golang.org/x/sys/unix"
)

// probes are addresses to which only the default route leads: the anycast addresses of the
// Port Control Protocol (RFC 7723). A lookup of one of them finds the default route
// without a list of all routes, of which a node has one for each container.
var probes = map[masq.Family]netip.Addr{
	masq.IPv4: netip.MustParseAddr("192.0.0.9"),
	masq.IPv6: netip.MustParseAddr("2001:1::1"),
}

// uplink is an interface that a default route of a family leaves through.
type uplink struct {
	device
	family   masq.Family
	routeMTU int
}

// mtu returns the size in bytes of the largest packet that the uplink sends.
func (u uplink) mtu() int {
	mtu := u.device.mtu
	if u.routeMTU > 0 {
		mtu = min(mtu, u.routeMTU)
	}
	// A router may announce a lower MTU for IPv6 (RFC 4861, section 4.6.4).
	if n, ok := u.setting6(devconf6MTU); ok && u.family == masq.IPv6 && n > 0 {
		mtu = min(mtu, n)
	}
	return mtu
}

// defaultUplinks returns the interfaces of the default routes of the families: of every
// next hop of every default route, in every table that a routing rule leads to. The kernel
// selects one of them for each packet, and replies may enter by any. In the main table, an
// IPv6 default route that is not the best is found only if its interface also has an IPv4
// address.
//
// The cost does not depend on the number of containers: see [socket.defaultsOf] and
// [Conn.mainDefaults6].
func (c *Conn) defaultUplinks(families []masq.Family) ([]uplink, error) {
	var found []uplink
	for _, f := range families {
		all, err := c.defaultRoutes(f)
		if err != nil {
			return nil, err
		}
		for _, h := range all {
			if h.kind != unix.RTN_UNICAST {
				continue
			}
			if len(h.indexes) == 0 && h.object != 0 {
				if h.indexes, err = c.host.objectIndexes(h.object); err != nil {
					return nil, err
				}
			}
			for _, index := range h.indexes {
				found = append(found, uplink{device: device{index: index}, family: f, routeMTU: h.mtu})
			}
		}
	}
	return c.withDevices(found)
}

// withDevices reads the devices of uplinks, and returns each interface once for a family,
// with the lowest MTU of its routes. It omits interfaces that no longer exist or do not
// lead out of the node.
func (c *Conn) withDevices(found []uplink) ([]uplink, error) {
	var out []uplink
	var indexes []int
	for _, u := range found {
		i := slices.IndexFunc(out, func(o uplink) bool { return o.index == u.index && o.family == u.family })
		if i < 0 {
			out, indexes = append(out, u), append(indexes, u.index)
			continue
		}
		if o := &out[i]; u.routeMTU > 0 && (o.routeMTU == 0 || u.routeMTU < o.routeMTU) {
			o.routeMTU = u.routeMTU
		}
	}
	devices, err := c.host.devicesAt(indexes)
	if err != nil {
		return nil, err
	}
	for i, d := range devices {
		out[i].device = d
	}
	return slices.DeleteFunc(out, func(u uplink) bool { return u.index == 0 || !u.leadsOutside() }), nil
}

// defaultRoutes lists the default routes of a family.
func (c *Conn) defaultRoutes(f masq.Family) ([]nextHops, error) {
	// The route of a packet: this also finds the routes to both halves of the address space
	// with which VPNs replace the default route.
	lookup := lookUpRoute(probes[f], 0)
	_ = c.host.exchange(lookup) // path reads the error
	_, found, err := lookup.path()
	if err != nil {
		return nil, err
	}
	var out []nextHops
	if found {
		h, _ := readNextHops(lookup.reply)
		out = append(out, h)
	}
	tables, err := c.tables(f)
	if err != nil {
		return nil, err
	}
	if f == masq.IPv6 {
		if out, err = c.mainDefaults6(out); err != nil {
			return nil, err
		}
		tables = tables[1:] // the first is main
	}
	var s *socket
	defer func() {
		if s != nil {
			s.close()
		}
	}()
	for _, table := range tables {
		if s == nil {
			if s, err = c.node.dial(nodeBuffer); err != nil {
				return nil, err
			}
		}
		all, whole, err := s.defaultsOf(f, table)
		if err != nil {
			return nil, err
		}
		out = append(out, all...)
		if !whole {
			s.close()
			s = nil
		}
	}
	return out, nil
}

// mainDefaults6 adds the IPv6 default routes of the main table that are not the best. It
// looks up the route through each interface that has an IPv4 address.
func (c *Conn) mainDefaults6(out []nextHops) ([]nextHops, error) {
	var indexes []int
	err := c.host.dump(listAddresses(unix.AF_INET, 0), func() { indexes = nil }, func(b []byte) {
		if a, ok := readAddress(b); ok && !a.Addr().IsLoopback() && !slices.Contains(indexes, a.index) {
			indexes = append(indexes, a.index)
		}
	})
	if err != nil {
		return nil, err
	}
	var lookups []*message
	for _, i := range indexes {
		lookups = append(lookups, lookUpRoute(probes[masq.IPv6], i))
	}
	_ = c.host.exchange(lookups...) // path reads the errors
	for i, m := range lookups {
		if way, found, err := m.path(); err != nil || !found || way.index != indexes[i] {
			continue
		}
		h, _ := readNextHops(m.reply)
		h.listed = true
		out = append(out, h)
	}
	return out, nil
}

// leadsOutside reports whether packets can leave the node through the device.
func (d device) leadsOutside() bool { return d.flags&unix.IFF_LOOPBACK == 0 && !d.isManaged() }

// addressedUplinks returns the interfaces with a global address that lead out of the node,
// for each family of these addresses. It reads all addresses of the node, so it is called
// only on a node without a default route, or where an uplink does not forward yet.
func (c *Conn) addressedUplinks() ([]uplink, error) {
	all, err := c.host.addresses(0)
	if err != nil {
		return nil, err
	}
	type key struct {
		index  int
		family masq.Family
	}
	var keys []key
	for _, a := range all {
		if a.Addr().IsGlobalUnicast() {
			keys = append(keys, key{a.index, masq.FamilyOf(a.Addr())})
		}
	}
	slices.SortFunc(keys, func(a, b key) int { return (a.index-b.index)*16 + int(a.family) - int(b.family) })
	keys = slices.Compact(keys)
	var indexes []int
	for _, k := range keys {
		indexes = append(indexes, k.index)
	}
	devices, err := c.host.devicesAt(indexes)
	if err != nil {
		return nil, err
	}
	var out []uplink
	for i, d := range devices {
		if d.index != 0 && d.leadsOutside() {
			out = append(out, uplink{device: d, family: keys[i].family})
		}
	}
	return out, nil
}

// fallbackMTU is the MTU, that of Ethernet, for a node without an uplink.
const fallbackMTU = 1500

// UplinkMTU returns the size, in bytes, of the largest packet that leaves the node without
// fragmentation: through its default routes or, without those, through any interface with
// a global address.
func (c *Conn) UplinkMTU() (int, error) {
	uplinks, err := c.defaultUplinks(masq.Families[:])
	if err != nil {
		return 0, err
	}
	down := func(u uplink) bool { return !u.isUp() }
	if uplinks = slices.DeleteFunc(uplinks, down); len(uplinks) == 0 {
		if uplinks, err = c.addressedUplinks(); err != nil {
			return 0, err
		}
		uplinks = slices.DeleteFunc(uplinks, down)
	}
	if len(uplinks) == 0 {
		return fallbackMTU, nil
	}
	mtu := uplinks[0].mtu()
	for _, u := range uplinks[1:] {
		mtu = min(mtu, u.mtu())
	}
	return mtu, nil
}
