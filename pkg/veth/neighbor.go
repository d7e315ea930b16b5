package veth

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// addNeighbor returns the request to make a permanent neighbor entry.
func addNeighbor(a netip.Addr, mac net.HardwareAddr, index int, where string) *message {
	m := newMessage(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, fmt.Sprintf("add neighbor %s, %s, to %s", a, mac, where),
		unix.NdMsg{Family: familyOf(a), Ifindex: int32(index), State: unix.NUD_PERMANENT})
	m.addr(unix.NDA_DST, a)
	m.Bytes(unix.NDA_LLADDR, mac)
	return m
}

// getNeighbor returns the request for one neighbor entry. Requires Linux 5.0.
func getNeighbor(a netip.Addr, index int) *message {
	m := newMessage(unix.RTM_GETNEIGH, 0, "look up neighbor "+a.String(), unix.NdMsg{Family: familyOf(a), Ifindex: int32(index)})
	m.addr(unix.NDA_DST, a)
	return m
}

// mac reads the answer to getNeighbor. It returns false if no entry with a MAC exists.
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

// addProxy returns the requests to make the host's end answer ARP for the container's
// gateway: a proxy neighbor and its delay.
//
// The container's permanent entry is not enough: the kernel deletes it when the MAC of the
// container's end changes (neigh_changeaddr in net/core/neighbour.c), as by the tuning
// plugin. Unlike proxy_arp, a proxy neighbor answers for one address only. The kernel
// answers only if it has a route to that address through another interface, such as a
// default route.
func addProxy(a netip.Addr, index int, where string) []*message {
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
