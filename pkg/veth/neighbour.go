package veth

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// addNeighbour tells the MAC of an address for good.
func addNeighbour(a netip.Addr, mac net.HardwareAddr, index int, where string) *message {
	return newMessage(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE,
		fmt.Sprintf("add neighbour %s, %s, to %s", a, mac, where),
		permanent(a, index), addrAttr(unix.NDA_DST, a), nl.NewRtAttr(unix.NDA_LLADDR, mac))
}

// neighbour is struct ndmsg of linux/neighbour.h.
type neighbour unix.NdMsg

func permanent(a netip.Addr, index int) neighbour {
	return neighbour{Family: familyOf(a), Ifindex: int32(index), State: unix.NUD_PERMANENT}
}

// Len implements nl.NetlinkRequestData.
func (n neighbour) Len() int { return unix.SizeofNdMsg }

// Serialize implements nl.NetlinkRequestData.
func (n neighbour) Serialize() []byte {
	b := []byte{n.Family, n.Pad1}
	b = binary.NativeEndian.AppendUint16(b, n.Pad2)
	b = binary.NativeEndian.AppendUint32(b, uint32(n.Ifindex))
	b = binary.NativeEndian.AppendUint16(b, n.State)
	return append(b, n.Flags, n.Type)
}

// getNeighbour asks for one entry. Requires Linux 5.0.
func getNeighbour(a netip.Addr, index int) *message {
	m := permanent(a, index)
	m.State = 0
	return newMessage(unix.RTM_GETNEIGH, 0, "look up neighbour "+a.String(), m, addrAttr(unix.NDA_DST, a))
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
	entry := neighbour{Family: familyOf(a), Ifindex: int32(index), Flags: unix.NTF_PROXY}
	// Broadcast requests are answered after up to 0.8 s otherwise, so that a
	// true owner comes first.
	delay := nl.NewRtAttr(ndtaParms, nil)
	delay.AddChild(uint32Attr(ndtpaIndex, uint32(index)))
	delay.AddRtAttr(ndtpaProxyDelay, make([]byte, 8))
	return []*message{
		newMessage(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE,
			fmt.Sprintf("let %s answer for %s", where, a), entry, addrAttr(unix.NDA_DST, a)),
		newMessage(unix.RTM_SETNEIGHTBL, 0, "let "+where+" answer without delay",
			&nl.RtGenMsg{RtGenmsg: unix.RtGenmsg{Family: familyOf(a)}},
			nl.NewRtAttr(ndtaName, nl.ZeroTerminated("arp_cache")), delay),
	}
}
