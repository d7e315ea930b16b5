package veth

import (
	"errors"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"golang.org/x/sys/unix"
)

// Constants of linux/fib_rules.h that x/sys/unix lacks.
const (
	fraFwMark     = 10
	fraTable      = 15
	frActToTable  = 1
	fibRuleInvert = 2
)

// tables returns the routing tables of a family that routing rules lead to, for any
// selector. It omits tables of VRFs: packets of containers do not take them.
func (c *Conn) tables(f masq.Family) ([]uint32, error) {
	out := []uint32{unix.RT_TABLE_MAIN}
	m := newMessage(unix.RTM_GETRULE, 0, "list routing rules", ruleHeader{familyNumber(f)})
	err := c.host.dump(m, func() { out = out[:1] }, func(b []byte) {
		h, attributes, ok := decodeHeader[ruleHeader](b)
		if !ok || h[7] != frActToTable {
			return
		}
		table := uint32(h[4])
		for kind, v := range netlink.All(attributes) {
			if kind == fraTable {
				table = readUint32(v)
			}
		}
		if table != unix.RT_TABLE_LOCAL && table != unix.RT_TABLE_UNSPEC && !slices.Contains(out, table) {
			out = append(out, table)
		}
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
		err = nil // a kernel without policy routing, or without IPv6
	}
	return out, err
}

// Marks returns the packet marks for which a routing rule leads to a table, IPv4 only.
func (c *Conn) Marks() (out []uint32, err error) {
	m := newMessage(unix.RTM_GETRULE, 0, "list routing rules", ruleHeader{unix.AF_INET})
	err = c.host.dump(m, func() { out = nil }, func(b []byte) {
		h, attributes, ok := decodeHeader[ruleHeader](b)
		if !ok || h[7] != frActToTable || readUint32(h[8:])&fibRuleInvert != 0 {
			return
		}
		for kind, v := range netlink.All(attributes) {
			if mark := readUint32(v); kind == fraFwMark && mark != 0 && !slices.Contains(out, mark) {
				out = append(out, mark)
			}
		}
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = nil // a kernel without policy routing
	}
	return out, err
}

// defaultsOf returns the default routes of a table. The kernel lists IPv4 routes in the
// order of their destinations, and defaultsOf stops at the first other route: the cost does
// not depend on the size of the table. The kernel lists an IPv6 default route last, so that
// the whole table is read. If whole is false, the socket has to be closed.
func (s *socket) defaultsOf(f masq.Family, table uint32) (out []nextHops, whole bool, err error) {
	request := newMessage(unix.RTM_GETROUTE, 0, "list default routes", unix.RtMsg{Family: familyNumber(f)})
	request.NativeUint32(unix.RTA_TABLE, table)
	whole, err = s.dumpWhile(request, func() { out = nil }, func(b []byte) bool {
		h, ok := readNextHops(b)
		if ok && h.dst.Bits() == 0 {
			h.listed = true
			out = append(out, h)
		}
		return f == masq.IPv6 || !ok || h.dst.Addr().IsUnspecified()
	})
	// A table without routes does not exist.
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, true, nil
	}
	return out, whole, err
}
