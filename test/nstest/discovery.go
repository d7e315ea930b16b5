package nstest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"

	"golang.org/x/sys/unix"
)

// Broadcast is the Ethernet address of all hosts of a link.
var Broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Opcodes of ARP (RFC 826).
const (
	ARPRequest = 1
	ARPReply   = 2
)

// Types of ICMPv6 messages of neighbor discovery (RFC 4861).
const (
	RouterSolicitation    = 133
	RouterAdvertisement   = 134
	NeighborSolicitation  = 135
	NeighborAdvertisement = 136
	Redirect              = 137
)

// ARPFrame returns the frame of an ARP message to all hosts.
func ARPFrame(op uint16, mac net.HardwareAddr, sender, target netip.Addr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4} // Ethernet, IPv4, and the lengths of their addresses
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(append(b, mac...), sender.AsSlice()...)
	b = append(append(b, make([]byte, 6)...), target.AsSlice()...)
	return Frame(Ethernet{Dst: Broadcast, Src: mac, Type: unix.ETH_P_ARP}, b)
}

// DiscoveryFrame returns the frame of a neighbor discovery message to one host, with the
// link-layer address option mac. Router messages have no target.
func DiscoveryFrame(kind byte, to net.HardwareAddr, src, dst, target netip.Addr, mac net.HardwareAddr) []byte {
	b := []byte{kind, 0, 0, 0, 0, 0, 0, 0}
	option := byte(1) // source link-layer address
	switch kind {
	case RouterAdvertisement:
		binary.BigEndian.PutUint16(b[6:], 1800) // router lifetime in seconds
		b = append(b, make([]byte, 8)...)
	case NeighborSolicitation:
		b = append(b, target.AsSlice()...)
	case NeighborAdvertisement:
		b[4] = 0x20 // override
		b = append(b, target.AsSlice()...)
		option = 2 // target link-layer address
	case Redirect:
		b = append(append(b, target.AsSlice()...), target.AsSlice()...)
		option = 2
	}
	b = append(append(b, option, 1), mac...)
	p := IPPacket(src, dst, unix.IPPROTO_ICMPV6, b, 2)
	p[7] = 255 // hop limit: not forwarded by a router
	return Frame(Ethernet{Dst: to, Src: mac, Type: unix.ETH_P_IPV6}, p)
}

// SendFrames sends frames by an interface. One CPU sends all of them, so the other end
// of a veth pair handles them in this order, and earlier than packets that the caller sends
// after it got an answer to the last frame.
func (n *NS) SendFrames(iface string, frames ...[]byte) error {
	err := n.Do(func() error {
		l, err := net.InterfaceByName(iface)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return errors.Join(onOneCPU(func() error {
			for _, f := range frames {
				if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: l.Index}); err != nil {
					return err
				}
			}
			return nil
		}), unix.Close(fd))
	})
	if err != nil {
		return fmt.Errorf("send %d frames on %s:%s: %w", len(frames), n.Name(), iface, err)
	}
	return nil
}

// onOneCPU calls f on the first CPU that the thread may use.
func onOneCPU(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	for cpu := range 1024 {
		if before.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	return errors.Join(f(), unix.SchedSetaffinity(0, &before))
}
