package veth

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// addNeighbour tells the MAC of an address for good.
func addNeighbour(a netip.Addr, mac net.HardwareAddr, index int, where string) *message {
	m := newMessage(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, fmt.Sprintf("add neighbor %s, %s, to %s", a, mac, where),
		unix.NdMsg{Family: familyOf(a), Ifindex: int32(index), State: unix.NUD_PERMANENT})
	m.addr(unix.NDA_DST, a)
	m.Bytes(unix.NDA_LLADDR, mac)
	return m
}

// getNeighbour asks for one entry. Requires Linux 5.0.
func getNeighbour(a netip.Addr, index int) *message {
	m := newMessage(unix.RTM_GETNEIGH, 0, "look up neighbor "+a.String(), unix.NdMsg{Family: familyOf(a), Ifindex: int32(index)})
	m.addr(unix.NDA_DST, a)
	return m
}

// mac reads the answer to getNeighbour. The bool is false where there is no
// entry with a MAC.
func (m *message) mac() (net.HardwareAddr, bool, error) {
	if errors.Is(m.err, unix.ENOENT) {
		return nil, false, nil
	}
	if err := m.failed(); err != nil {
		return nil, false, err
	}
	for kind, v := range netlink.All(netlink.After(m.reply, unix.SizeofNdMsg)) {
		if kind == unix.NDA_LLADDR {
			return v, true, nil
		}
	}
	return nil, false, nil
}

// Attributes of RTM_SETNEIGHTBL (linux/neighbour.h).
const (
	ndtaName        = 1
	ndtaParms       = 6
	ndtpaIndex      = 1
	ndtpaProxyDelay = 13
)

// answerFor makes the host's end answer ARP for the container's gateway, which
// nobody has: two messages, an entry and its delay.
//
// The container has the MAC for good, but the kernel forgets it with all others
// when the MAC of the container's own end changes (neigh_changeaddr in
// net/core/neighbour.c), and the tuning plugin does that. This is not proxy_arp:
// it answers for one address only. The kernel wants a route to that address
// through another interface for it, such as a default route.
func answerFor(a netip.Addr, index int, where string) []*message {
	entry := newMessage(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, fmt.Sprintf("let %s answer for %s", where, a),
		unix.NdMsg{Family: familyOf(a), Ifindex: int32(index), Flags: unix.NTF_PROXY})
	entry.addr(unix.NDA_DST, a)
	// By default the kernel answers a broadcast request after up to 0.8 s, so that the
	// owner of the address can answer first.
	delay := newMessage(unix.RTM_SETNEIGHTBL, 0, "let "+where+" answer without delay", familyHeader{familyOf(a)})
	delay.Text(ndtaName, "arp_cache")
	parms := delay.Begin(ndtaParms)
	delay.NativeUint32(ndtpaIndex, uint32(index))
	delay.Bytes(ndtpaProxyDelay, make([]byte, 8))
	delay.End(parms)
	return []*message{entry, delay}
}
