package veth

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"golang.org/x/sys/unix"
)

// route is a route in a netlink message, sent or received.
type route struct {
	dst      netip.Prefix
	gw       netip.Addr // invalid for a route without a gateway
	index    int
	protocol uint8
	// Table 0 is main. A priority, mtu or advMSS of 0 is the kernel's default. The scope
	// belongs to an IPv4 route through a gateway.
	table, priority, mtu, advMSS uint32
	scope                        uint8
}

// containerRoute returns a route of the container through its gateway.
func containerRoute(r masq.Route, gw netip.Addr, index int) route {
	return route{
		dst: r.Dst, gw: gw, index: index, protocol: unix.RTPROT_STATIC,
		table: uint32(r.Table), priority: uint32(r.Priority), mtu: uint32(r.MTU), advMSS: uint32(r.AdvMSS), scope: uint8(r.Scope),
	}
}

// key returns the part of a route that tells it apart from other routes of the interface.
func (v route) key() route {
	return route{dst: v.dst, gw: v.gw, index: v.index, table: v.table, priority: v.priority}
}

// String returns the route as ip-route(8) writes it.
func (v route) String() string {
	out := v.dst.String()
	if v.dst.Bits() == 0 {
		out = "default"
	}
	if v.gw.IsValid() {
		out += " via " + v.gw.String()
	}
	if v.table != 0 {
		out += fmt.Sprintf(" table %d", v.table)
	}
	if v.priority != 0 {
		out += fmt.Sprintf(" metric %d", v.priority)
	}
	return out
}

// attributes returns the values that are not part of the key, as ip-route(8) writes them.
func (v route) attributes() string {
	return fmt.Sprintf("mtu %d advmss %d scope %d", v.mtu, v.advMSS, v.scope)
}

// addRoute returns the request to add the route. The flags decide about a route that
// already exists: NLM_F_EXCL, NLM_F_APPEND or NLM_F_REPLACE.
func (v route) addRoute(where string, flags int) *message {
	h := unix.RtMsg{
		Family: familyOf(v.dst.Addr()), Dst_len: uint8(v.dst.Bits()), Table: unix.RT_TABLE_MAIN,
		Protocol: v.protocol, Scope: v.scope, Type: unix.RTN_UNICAST,
	}
	switch {
	case v.gw.IsValid():
		// The gateway is in no prefix route of the interface.
		h.Flags = unix.RTNH_F_ONLINK
	case v.dst.Addr().Is4():
		h.Scope = unix.RT_SCOPE_LINK
	}
	if v.table != 0 {
		h.Table = unix.RT_TABLE_UNSPEC // RTA_TABLE has the full 32 bits
	}
	m := newMessage(unix.RTM_NEWROUTE, uint16(unix.NLM_F_CREATE|flags), fmt.Sprintf("add route %s to %s", v, where), h)
	m.NativeUint32(unix.RTA_OIF, uint32(v.index))
	if v.dst.Bits() > 0 {
		m.addr(unix.RTA_DST, v.dst.Addr())
	}
	if v.gw.IsValid() {
		m.addr(unix.RTA_GATEWAY, v.gw)
	}
	optional := func(typ uint16, value uint32) {
		if value != 0 {
			m.NativeUint32(typ, value)
		}
	}
	optional(unix.RTA_TABLE, v.table)
	optional(unix.RTA_PRIORITY, v.priority)
	if v.mtu != 0 || v.advMSS != 0 {
		metrics := m.Begin(unix.RTA_METRICS)
		optional(unix.RTAX_MTU, v.mtu)
		optional(unix.RTAX_ADVMSS, v.advMSS)
		m.End(metrics)
	}
	return m
}

// path is the kernel's route for one destination.
type path struct {
	kind  uint8 // RTN_UNICAST, RTN_LOCAL, ...
	index int   // index of the interface
	mtu   int   // a metric of the route; 0 for none
	bits  int   // prefix length of the route
}

// lookUpRoute returns the request for the route that a packet of the node to an address
// takes: one answer for any number of routes. With an index other than 0, the packet leaves
// through this interface.
func lookUpRoute(a netip.Addr, index int) *message { return lookUp(a, index, unix.RTM_F_FIB_MATCH) }

// lookUpPacket is lookUpRoute whose answer also has the source address that a packet would
// get. For IPv6 the kernel selects it among the addresses of all interfaces: 0.5 ms for
// each 1,000.
func lookUpPacket(a netip.Addr, index int) *message { return lookUp(a, index, 0) }

func lookUp(a netip.Addr, index int, flags uint32) *message {
	m := newMessage(unix.RTM_GETROUTE, 0, "look up the route to "+a.String(),
		unix.RtMsg{Family: familyOf(a), Dst_len: uint8(a.BitLen()), Flags: flags})
	m.addr(unix.RTA_DST, a)
	if index != 0 {
		m.NativeUint32(unix.RTA_OIF, uint32(index))
	}
	return m
}

// path reads the answer to lookUpRoute. It returns false if the node has no route.
func (m *message) path() (path, bool, error) {
	// Errors of route lookups: no route, unreachable, prohibit, blackhole, throw, and a
	// kernel without IPv6.
	for _, noRoute := range []unix.Errno{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL, unix.EAGAIN, unix.EAFNOSUPPORT, unix.EOPNOTSUPP} {
		if errors.Is(m.err, noRoute) {
			return path{}, false, nil
		}
	}
	if err := m.failed(); err != nil {
		return path{}, false, err
	}
	info, attributes, ok := decodeHeader[unix.RtMsg](m.reply)
	if !ok {
		return path{}, false, fmt.Errorf("%s: %w", m.what, netlink.ErrNoAnswer)
	}
	p := path{kind: info.Type, bits: int(info.Dst_len)}
	switch p.kind {
	case unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT, unix.RTN_BLACKHOLE, unix.RTN_THROW:
		return path{}, false, nil
	}
	for kind, v := range netlink.All(attributes) {
		switch kind {
		case unix.RTA_OIF:
			p.index = int(readUint32(v))
		case unix.RTA_MULTIPATH:
			// The interface of the first struct rtnexthop is at byte 4.
			if p.index == 0 && len(v) >= unix.SizeofRtNexthop {
				p.index = int(readUint32(v[4:]))
			}
		case unix.RTA_METRICS:
			for metric, v := range netlink.All(v) {
				if metric == unix.RTAX_MTU {
					p.mtu = int(readUint32(v))
				}
			}
		}
	}
	return p, true, nil
}

func (s *socket) lookUpPath(a netip.Addr, index int) (path, bool, error) {
	m := lookUpRoute(a, index)
	_ = s.exchange(m) // path reads the error
	return m.path()
}

// routes lists the routes through an interface, of all tables.
func (s *socket) routes(index int) ([]route, error) {
	var out []route
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		others := len(out)
		request := newMessage(unix.RTM_GETROUTE, 0, "list routes", unix.RtMsg{Family: family})
		request.NativeUint32(unix.RTA_OIF, uint32(index))
		if err := s.dump(request, func() { out = out[:others] }, func(b []byte) {
			if r, ok := readRoute(b); ok && r.index == index {
				out = append(out, r)
			}
		}); err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
	}
	return out, nil
}

// defaultPriority6 is the metric of an IPv6 route that was added without one
// (IP6_RT_PRIO_USER of linux/ipv6_route.h).
const defaultPriority6 = 1024

// readRoute reads the body of an RTM_NEWROUTE. It returns false for a route that is not
// unicast.
func readRoute(b []byte) (route, bool) {
	info, attributes, ok := decodeHeader[unix.RtMsg](b)
	if !ok {
		return route{}, false
	}
	v6 := info.Family == unix.AF_INET6
	r := route{dst: DefaultRoute(masq.IPv4), protocol: info.Protocol, table: uint32(info.Table), scope: info.Scope}
	if v6 {
		r.dst = DefaultRoute(masq.IPv6)
	}
	for kind, v := range netlink.All(attributes) {
		switch kind {
		case unix.RTA_DST:
			if a, ok := netip.AddrFromSlice(v); ok {
				r.dst = netip.PrefixFrom(a, int(info.Dst_len))
			}
		case unix.RTA_GATEWAY:
			r.gw, _ = netip.AddrFromSlice(v)
		case unix.RTA_OIF:
			r.index = int(readUint32(v))
		case unix.RTA_TABLE:
			r.table = readUint32(v)
		case unix.RTA_PRIORITY:
			r.priority = readUint32(v)
		case unix.RTA_METRICS:
			for metric, v := range netlink.All(v) {
				switch metric {
				case unix.RTAX_MTU:
					r.mtu = readUint32(v)
				case unix.RTAX_ADVMSS:
					r.advMSS = readUint32(v)
				}
			}
		}
	}
	if r.table == unix.RT_TABLE_MAIN {
		r.table = 0
	}
	if v6 && r.priority == defaultPriority6 {
		r.priority = 0
	}
	return r, info.Type == unix.RTN_UNICAST
}

// HasAddress reports whether the node receives packets to an address: an interface has it,
// or a local route covers it.
func (c *Conn) HasAddress(a netip.Addr) (bool, error) {
	p, found, err := c.host.lookUpPath(a, 0)
	return found && p.kind == unix.RTN_LOCAL, err
}
