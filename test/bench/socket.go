package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/nstest"
)

// socketIn opens a socket in a namespace and binds or connects it.
func socketIn(n *nstest.NS, kind int, bind, connect netip.AddrPort) (fd int, err error) {
	err = n.Do(func() error {
		if fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		patience := unix.Timeval{Sec: 2}
		err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience)
		if err == nil && bind.IsValid() {
			err = unix.Bind(fd, sockaddr(bind))
		}
		if err == nil && connect.IsValid() {
			err = unix.Connect(fd, sockaddr(connect))
		}
		if err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		return nil
	})
	if err != nil {
		return -1, fmt.Errorf("socket in %s: %w", n.Name(), err)
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
}

// dropReceived makes a socket drop received packets without further cost.
func dropReceived(fd int) error {
	program := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &program[0]})
}

// keepReceived undoes dropReceived.
func keepReceived(fd int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// frameSocket opens a socket that sends frames on a container's link, without its IP stack.
func frameSocket(n *nstest.NS) (fd int, mac net.HardwareAddr, err error) {
	err = n.Do(func() error {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		mac = link.HardwareAddr
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1),
			unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: link.Index}))
		if err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		return nil
	})
	return fd, mac, err
}

// frame returns an Ethernet frame of 60 bytes with a UDP datagram.
func frame(from, to net.HardwareAddr, src, dst netip.AddrPort) []byte {
	const ip, udp, end = 14, 34, 60
	b := make([]byte, end)
	copy(b, to)
	copy(b[6:], from)
	binary.BigEndian.PutUint16(b[12:], unix.ETH_P_IP)
	b[ip], b[ip+8], b[ip+9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(b[ip+2:], end-ip)
	copy(b[ip+12:], src.Addr().AsSlice())
	copy(b[ip+16:], dst.Addr().AsSlice())
	binary.BigEndian.PutUint16(b[ip+10:], checksum(0, b[ip:udp]))
	binary.BigEndian.PutUint16(b[udp:], src.Port())
	binary.BigEndian.PutUint16(b[udp+2:], dst.Port())
	binary.BigEndian.PutUint16(b[udp+4:], end-udp)
	// The pseudo header: addresses, protocol and length.
	sum := checksum(unix.IPPROTO_UDP+end-udp, b[ip+12:])
	if sum == 0 {
		sum = 0xffff // 0 would mean "no checksum"
	}
	binary.BigEndian.PutUint16(b[udp+6:], sum)
	return b
}

func checksum(start uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		start += uint32(binary.BigEndian.Uint16(b))
	}
	for start > 0xffff {
		start = start>>16 + start&0xffff
	}
	return ^uint16(start)
}
