package wire

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
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

// mac reads the answer to getNeighbour. An entry that is not permanent is none.
func (m *message) mac() (net.HardwareAddr, error) {
	if err := m.failed(); err != nil {
		return nil, err
	}
	if len(m.reply) >= unix.SizeofNdMsg && binary.NativeEndian.Uint16(m.reply[8:])&unix.NUD_PERMANENT != 0 {
		for kind, v := range attributes(m.reply[unix.SizeofNdMsg:]) {
			if kind == unix.NDA_LLADDR {
				return v, nil
			}
		}
	}
	return nil, fmt.Errorf("%s: there is no permanent entry", m.what)
}
