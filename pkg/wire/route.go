package wire

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// via is a route as it is put into the kernel.
type via struct {
	dst      netip.Prefix
	gw       netip.Addr // invalid: on the link
	index    int
	protocol uint8
}

// String is the route as ip-route(8) writes it.
func (v via) String() string {
	dst := v.dst.String()
	if v.dst.Bits() == 0 {
		dst = "default"
	}
	if !v.gw.IsValid() {
		return dst
	}
	return dst + " via " + v.gw.String()
}

// addRoute makes the request. The caller says by flags what to do when there is
// such a route already.
func (v via) addRoute(where string, flags int) *message {
	m := nl.NewRtMsg()
	m.Family = familyOf(v.dst.Addr())
	m.Dst_len = uint8(v.dst.Bits())
	m.Protocol = v.protocol
	m.Scope = unix.RT_SCOPE_UNIVERSE
	if !v.gw.IsValid() && v.dst.Addr().Is4() {
		m.Scope = unix.RT_SCOPE_LINK
	}
	r := newMessage(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|flags, fmt.Sprintf("add route %s to %s", v, where), m,
		uint32Attr(unix.RTA_OIF, uint32(v.index)))
	if v.dst.Bits() > 0 {
		r.AddData(addrAttr(unix.RTA_DST, v.dst.Addr()))
	}
	if v.gw.IsValid() {
		// The address has no prefix route that the gateway could be in.
		m.Flags = unix.RTNH_F_ONLINK
		r.AddData(addrAttr(unix.RTA_GATEWAY, v.gw))
	}
	return r
}

// path is the kernel's choice for one destination.
type path struct {
	kind  uint8 // RTN_UNICAST, RTN_LOCAL, ...
	index int   // interface it leaves through
	mtu   int   // a metric of the route; 0 where it has none
	bits  int   // prefix length of the route
}

// lookUpRoute asks for the way to an address, as a packet of the node would
// take it: one answer, however many routes there are.
func lookUpRoute(a netip.Addr, index int) *message {
	m := &nl.RtMsg{}
	m.Family = familyOf(a)
	m.Dst_len = uint8(a.BitLen())
	// Ask for the route alone. For a packet the kernel also selects an IPv6 source
	// address, among the addresses of all interfaces: 0.5 ms for each 1,000 of them.
	m.Flags = unix.RTM_F_FIB_MATCH
	r := newMessage(unix.RTM_GETROUTE, 0, "look up the route to "+a.String(), m, addrAttr(unix.RTA_DST, a))
	if index != 0 {
		r.AddData(uint32Attr(unix.RTA_OIF, uint32(index)))
	}
	return r
}

// path reads the answer to lookUpRoute. The bool is false when there is no
// route.
func (m *message) path() (path, bool, error) {
	// What fib lookups fail with: no route, unreachable, prohibit, blackhole,
	// throw; and no IPv6 at all.
	for _, none := range []unix.Errno{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL, unix.EAGAIN, unix.EAFNOSUPPORT, unix.EOPNOTSUPP} {
		if errors.Is(m.err, none) {
			return path{}, false, nil
		}
	}
	if err := m.failed(); err != nil {
		return path{}, false, err
	}
	if len(m.reply) < unix.SizeofRtMsg {
		return path{}, false, fmt.Errorf("%s: the kernel did not answer", m.what)
	}
	info := nl.DeserializeRtMsg(m.reply)
	p := path{kind: info.Type, bits: int(info.Dst_len)}
	switch p.kind {
	case unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT, unix.RTN_BLACKHOLE, unix.RTN_THROW:
		return path{}, false, nil // a route that says that there is none
	}
	for kind, v := range attributes(m.reply[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_OIF:
			p.index = int(number(v))
		case unix.RTA_MULTIPATH:
			// struct rtnexthop: the interface of the first is behind four bytes.
			if p.index == 0 && len(v) >= unix.SizeofRtNexthop {
				p.index = int(number(v[4:]))
			}
		case unix.RTA_METRICS:
			for metric, v := range attributes(v) {
				if metric == unix.RTAX_MTU {
					p.mtu = int(number(v))
				}
			}
		}
	}
	return p, true, nil
}

// pathTo looks one destination up; for a link-local one, on an interface.
func (c *conn) pathTo(a netip.Addr, index int) (path, bool, error) {
	m := lookUpRoute(a, index)
	_ = c.exchange(m) // path reads the error
	return m.path()
}

// routes lists those of the main table through an interface.
func (c *conn) routes(index int) ([]via, error) {
	var out []via
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		m := &nl.RtMsg{}
		m.Family = family
		request := newMessage(unix.RTM_GETROUTE, 0, "list routes", m,
			uint32Attr(unix.RTA_OIF, uint32(index)), uint32Attr(unix.RTA_TABLE, unix.RT_TABLE_MAIN))
		if err := c.dump(request, func(b []byte) {
			if r, ok := readRoute(b); ok && r.index == index {
				out = append(out, r)
			}
		}); err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
	}
	return out, nil
}

func readRoute(b []byte) (via, bool) {
	if len(b) < unix.SizeofRtMsg {
		return via{}, false
	}
	info := nl.DeserializeRtMsg(b)
	r := via{dst: defaultOf(masq.IPv6)}
	if info.Family == unix.AF_INET {
		r.dst = defaultOf(masq.IPv4)
	}
	for kind, v := range attributes(b[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_DST:
			if a, ok := netip.AddrFromSlice(v); ok {
				r.dst = netip.PrefixFrom(a, int(info.Dst_len))
			}
		case unix.RTA_GATEWAY:
			r.gw, _ = netip.AddrFromSlice(v)
		case unix.RTA_OIF:
			r.index = int(number(v))
		}
	}
	return r, info.Type == unix.RTN_UNICAST
}

// HasAddress reports whether packets to an address are the node's own: it has
// the address, or a local route covers it.
func (w *Wire) HasAddress(a netip.Addr) (bool, error) {
	p, found, err := w.host.pathTo(a, 0)
	return found && p.kind == unix.RTN_LOCAL, err
}
