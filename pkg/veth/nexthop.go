package veth

import (
	"encoding/binary"
	"net/netip"

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
}

// readNextHops reads the body of an RTM_NEWROUTE. It skips the address of the next hop and
// its family (RTA_VIA): callers need the interface only.
func readNextHops(b []byte) (h nextHops, ok bool) {
	info, attributes, ok := decodeHeader[unix.RtMsg](b)
	if !ok {
		return nextHops{}, false
	}
	h = nextHops{kind: info.Type, table: uint32(info.Table)}
	dst := netip.IPv4Unspecified()
	if info.Family == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	for kind, v := range netlink.All(attributes) {
		switch kind {
		case unix.RTA_DST:
			if a, ok := netip.AddrFromSlice(v); ok {
				dst = a
			}
		case unix.RTA_TABLE:
			h.table = readUint32(v)
		case unix.RTA_OIF:
			h.indexes = append(h.indexes, int(readUint32(v)))
		case unix.RTA_MULTIPATH:
			h.indexes = append(h.indexes, readMultipath(v)...)
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
	return h, true
}

// readMultipath returns the interfaces of a list of struct rtnexthop: 2 bytes length, flags,
// hops, 4 bytes interface.
func readMultipath(b []byte) (indexes []int) {
	for len(b) >= unix.SizeofRtNexthop {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtNexthop || n > len(b) {
			break
		}
		indexes = append(indexes, int(int32(readUint32(b[4:]))))
		b = b[min(len(b), (n+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return indexes
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
