package nstest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ethernet is the header of a frame to send. Tags are VLAN tags, the outer first.
type Ethernet struct {
	Dst, Src net.HardwareAddr // 6 bytes each
	Tags     []Tag
	Type     uint16 // unix.ETH_P_IP, ...
}

// Tag is a VLAN tag. VLAN 0 is a priority tag: the kernel removes it and receives the
// frame as if it were not tagged.
type Tag struct {
	Type uint16 // unix.ETH_P_8021Q or unix.ETH_P_8021AD
	VLAN uint16
}

// Frame returns an Ethernet frame.
func Frame(e Ethernet, payload []byte) []byte {
	b := slices.Concat(e.Dst, e.Src)
	for _, t := range e.Tags {
		b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, t.Type), t.VLAN)
	}
	return append(binary.BigEndian.AppendUint16(b, e.Type), payload...)
}

// ChecksumOffload asks the device to write a checksum into the frame: the sum of the bytes from
// Start, written at Start+Offset, both counted from the begin of the frame
// (struct virtio_net_hdr of linux/virtio_net.h). The zero value requests no checksum.
type ChecksumOffload struct{ Start, Offset uint16 }

// SendFrame sends a frame unchanged by an interface, even if it is malformed. The kernel
// refuses frames that are longer than the MTU of the interface (EMSGSIZE).
func (n *NS) SendFrame(iface string, frame []byte) error {
	return n.SendOffloaded(iface, frame, ChecksumOffload{})
}

// SendOffloaded is SendFrame for a frame whose checksum the device computes.
func (n *NS) SendOffloaded(iface string, frame []byte, c ChecksumOffload) error {
	err := n.Do(func() error {
		link, err := net.InterfaceByName(iface)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if c != (ChecksumOffload{}) {
			err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1)
			const needsChecksum, none = 1, 0 // VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_NONE
			h := []byte{needsChecksum, none, 0, 0, 0, 0}
			h = binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(h, c.Start), c.Offset)
			frame = slices.Concat(h, frame)
		}
		if err == nil {
			err = unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: link.Index})
		}
		return errors.Join(err, unix.Close(fd))
	})
	if err != nil {
		return fmt.Errorf("send a frame of %d bytes on %s:%s: %w", len(frame), n.Name(), iface, err)
	}
	return nil
}

// HardwareAddr returns the MAC of an interface.
func (n *NS) HardwareAddr(iface string) (mac net.HardwareAddr, err error) {
	err = n.Do(func() error {
		link, err := net.InterfaceByName(iface)
		if err == nil {
			mac = link.HardwareAddr
		}
		return err
	})
	return mac, err
}

// ChecksumInSoftware has the kernel compute the checksums of packets that an interface sends, as
// for a device without checksum offload. By default a veth omits them.
func (n *NS) ChecksumInSoftware(iface string) error {
	err := n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		off := struct{ cmd, data uint32 }{cmd: unix.ETHTOOL_STXCSUM}
		request := struct { // struct ifreq of linux/if.h
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}{data: unsafe.Pointer(&off)}
		copy(request.name[:unix.IFNAMSIZ-1], iface)
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); e != 0 {
			err = e
		}
		return errors.Join(err, unix.Close(fd))
	})
	if err != nil {
		return fmt.Errorf("turn off the checksum offload of %s:%s: %w", n.Name(), iface, err)
	}
	return nil
}
