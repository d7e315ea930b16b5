package wire

import (
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"golang.org/x/sys/unix"
)

// probes are addresses that nobody has a route to but the default route: the
// anycast addresses of the Port Control Protocol (RFC 7723). Asking for the way
// to one of them finds the default route without listing the others, of which
// a node has one for each container.
var probes = map[masq.Family]netip.Addr{
	masq.IPv4: netip.MustParseAddr("192.0.0.9"),
	masq.IPv6: netip.MustParseAddr("2001:1::1"),
}

// uplink is the interface that the default route of a family leaves through.
type uplink struct {
	device
	family   masq.Family
	routeMTU int
}

// mtu is the largest packet that leaves through the uplink.
func (u uplink) mtu() int {
	mtu := u.device.mtu
	if u.routeMTU > 0 {
		mtu = min(mtu, u.routeMTU)
	}
	// A router may announce less for IPv6 alone (RFC 4861, section 4.6.4).
	if n, ok := u.setting6(devconf6MTU); ok && u.family == masq.IPv6 && n > 0 {
		mtu = min(mtu, n)
	}
	return mtu
}

// defaultUplinks returns the uplink of each of the families that has a default
// route.
func (w *Wire) defaultUplinks(families []masq.Family) ([]uplink, error) {
	if len(families) == 0 {
		return nil, nil
	}
	var lookups []*message
	for _, f := range families {
		lookups = append(lookups, lookUpRoute(probes[f], 0))
	}
	_ = w.host.exchange(lookups...) // path reads the errors
	var (
		out     []uplink
		devices []*message
	)
	for i, m := range lookups {
		p, found, err := m.path()
		if err != nil {
			return nil, err
		}
		if found && p.kind == unix.RTN_UNICAST && p.index != 0 {
			out = append(out, uplink{family: families[i], routeMTU: p.mtu})
			devices = append(devices, getByIndex(p.index))
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	if err := w.host.exchange(devices...); err != nil {
		return nil, err
	}
	for i, m := range devices {
		var err error
		if out[i].device, err = m.device(); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(out, func(u uplink) bool { return !u.leaves() }), nil
}

// leaves reports whether traffic can leave the node there.
func (d device) leaves() bool { return d.flags&unix.IFF_LOOPBACK == 0 && !d.ours() }

// addressed lists the interfaces, other than ours, that traffic can leave
// through as far as their addresses tell, with the families of these. It reads
// all addresses of the node, so it is for nodes without a default route, and
// for the first container of a node.
func (w *Wire) addressed() ([]uplink, error) {
	all, err := w.host.addresses(0)
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
	var ms []*message
	for _, k := range keys {
		m := getByIndex(k.index)
		m.allow = unix.ENODEV // gone meanwhile
		ms = append(ms, m)
	}
	if err := w.host.exchange(ms...); err != nil {
		return nil, err
	}
	var out []uplink
	for i, m := range ms {
		if m.reply == nil {
			continue
		}
		d, err := m.device()
		if err != nil {
			return nil, err
		}
		if d.leaves() {
			out = append(out, uplink{device: d, family: keys[i].family})
		}
	}
	return out, nil
}

// fallbackMTU is that of a node without any network: Ethernet's.
const fallbackMTU = 1500

// UplinkMTU returns the largest packet, in bytes, that leaves the node in one
// piece: through its default routes, or else through any interface with a
// global address.
func (w *Wire) UplinkMTU() (int, error) {
	uplinks, err := w.defaultUplinks(masq.Families[:])
	if err != nil {
		return 0, err
	}
	if len(uplinks) == 0 {
		if uplinks, err = w.addressed(); err != nil {
			return 0, err
		}
		uplinks = slices.DeleteFunc(uplinks, func(u uplink) bool { return !u.up() })
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
