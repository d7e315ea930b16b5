package veth

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// nextHops are the interfaces that a route leads to, and its attributes.
type nextHops struct {
	kind    uint8 // RTN_UNICAST, RTN_LOCAL, ...
	dst     netip.Prefix
	table   uint32
	indexes []int      // interfaces; several if the route has several next hops
	object  uint32     // ID of the nexthop object that has the interfaces; 0 for none
	mtu     int        // a metric of the route; 0 for none
	source  netip.Addr // the preferred source; invalid for none
	// gateways are the addresses of the next hops, for each of indexes; invalid for none.
	gateways []netip.Addr
	protocol uint8 // RTPROT_STATIC, ...
	listed   bool  // from a list of routes, not from the lookup of one packet's route
}

// readNextHops reads the body of an RTM_NEWROUTE.
func readNextHops(b []byte) (h nextHops, ok bool) {
	info, attributes, ok := decodeHeader[unix.RtMsg](b)
	if !ok {
		return nextHops{}, false
	}
	h = nextHops{kind: info.Type, table: uint32(info.Table), protocol: info.Protocol}
	dst := netip.IPv4Unspecified()
	if info.Family == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	var gateway netip.Addr // belongs to RTA_OIF
	for kind, v := range netlink.All(attributes) {
		switch kind {
		case unix.RTA_DST:
			if a, ok := netip.AddrFromSlice(v); ok {
				dst = a
			}
		case unix.RTA_TABLE:
			h.table = readUint32(v)
		case unix.RTA_OIF:
			h.indexes = slices.Insert(h.indexes, 0, int(readUint32(v)))
		case unix.RTA_GATEWAY, unix.RTA_VIA:
			gateway = gatewayOf(kind, v)
		case unix.RTA_MULTIPATH:
			indexes, gateways := readMultipath(v)
			h.indexes, h.gateways = append(h.indexes, indexes...), append(h.gateways, gateways...)
		case rtaNhID:
			h.object = readUint32(v)
		case unix.RTA_PREFSRC:
			h.source, _ = netip.AddrFromSlice(v)
		case unix.RTA_METRICS:
			for metric, v := range netlink.All(v) {
				if metric == unix.RTAX_MTU {
					h.mtu = int(readUint32(v))
				}
			}
		}
	}
	h.dst = netip.PrefixFrom(dst, int(info.Dst_len))
	if len(h.indexes) > len(h.gateways) {
		h.gateways = slices.Insert(h.gateways, 0, gateway)
	}
	return h, true
}

// readMultipath returns the interfaces and the gateways of a list of struct rtnexthop: 2
// bytes length, flags, hops, 4 bytes interface, attributes.
func readMultipath(b []byte) (indexes []int, gateways []netip.Addr) {
	for len(b) >= unix.SizeofRtNexthop {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtNexthop || n > len(b) {
			break
		}
		var gateway netip.Addr
		for kind, v := range netlink.All(b[unix.SizeofRtNexthop:n]) {
			if kind == unix.RTA_GATEWAY || kind == unix.RTA_VIA {
				gateway = gatewayOf(kind, v)
			}
		}
		indexes, gateways = append(indexes, int(int32(readUint32(b[4:])))), append(gateways, gateway)
		b = b[min(len(b), (n+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return indexes, gateways
}

// Nexthop objects (linux/rtnetlink.h, linux/nexthop.h), which x/sys/unix lacks in part.
const (
	rtaNhID     = 30
	nhaID       = 1
	nhaGroup    = 2
	nhaOIF      = 5
	nhGroupSize = 8 // struct nexthop_grp
)

// objectIndexes returns the interfaces of nexthop objects, or of all members of a group.
// The route also has them, unless net.ipv4.nexthop_compat_mode is 0.
func (s *socket) objectIndexes(ids ...uint32) (indexes []int, err error) {
	var lookups []*message
	for _, id := range ids {
		m := newMessage(unix.RTM_GETNEXTHOP, 0, "look up a nexthop object", nexthopHeader{})
		m.NativeUint32(nhaID, id)
		m.allow = unix.ENOENT // deleted meanwhile
		lookups = append(lookups, m)
	}
	if err := s.exchange(lookups...); err != nil {
		return nil, err
	}
	var members []uint32
	for _, m := range lookups {
		for kind, v := range netlink.All(netlink.After(m.reply, len(nexthopHeader{}))) {
			switch kind {
			case nhaOIF:
				indexes = append(indexes, int(readUint32(v)))
			case nhaGroup:
				for ; len(v) >= nhGroupSize; v = v[nhGroupSize:] {
					members = append(members, readUint32(v))
				}
			}
		}
	}
	if len(members) == 0 {
		return indexes, nil
	}
	more, err := s.objectIndexes(members...) // a group has no groups
	return append(indexes, more...), err
}
