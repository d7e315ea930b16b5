package veth

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// PathMTU is the MTU of the path to a destination, in bytes.
type PathMTU struct {
	Destination netip.Prefix
	Index       int // interface
	MTU         int
}

// LearnedMTUs returns the route exceptions that have an MTU: the kernel keeps one for each
// destination to which a router has reported a narrow link. Requires Linux 5.3;
// before that the list is empty.
func (c *Conn) LearnedMTUs(f masq.Family) (out []PathMTU, err error) {
	s, err := c.node.dial(nodeBuffer)
	if err != nil {
		return nil, err
	}
	defer s.close()
	// Without strict checks the kernel ignores the flag, and lists all routes too
	// (ip_valid_fib_dump_req in net/ipv4/fib_frontend.c).
	if err := unix.SetsockoptInt(s.c.FD(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1); err != nil {
		return nil, fmt.Errorf("list route exceptions: %w", err)
	}
	m := newMessage(unix.RTM_GETROUTE, 0, "list route exceptions", unix.RtMsg{Family: familyNumber(f), Flags: unix.RTM_F_CLONED})
	err = s.dump(m, func() { out = nil }, func(b []byte) {
		info, _, ok := decodeHeader[unix.RtMsg](b)
		if !ok || info.Flags&unix.RTM_F_CLONED == 0 {
			return
		}
		if h, ok := readNextHops(b); ok && h.mtu > 0 && len(h.indexes) > 0 {
			out = append(out, PathMTU{Destination: h.dst, Index: h.indexes[0], MTU: h.mtu})
		}
	})
	return out, noRoutes(err)
}

// noRoutes returns nil for the errors of a table without routes, and of a kernel without
// the family.
func noRoutes(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
		return nil
	}
	return err
}
