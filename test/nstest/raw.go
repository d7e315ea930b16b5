package nstest

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// SendRaw sends an IP packet unchanged, routed by its destination: the source may
// be anything. IPv4 length, checksum and, if 0, identification are the kernel's
// (raw(7)). It must fit the MTU of the link.
func (n *NS) SendRaw(packet []byte) error {
	p, err := Decode(packet)
	if err != nil {
		return err
	}
	family, to := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Addr: [4]byte(p.Dst.AsSlice()[:4])})
	if p.Dst.Is6() {
		family, to = unix.AF_INET6, &unix.SockaddrInet6{Addr: p.Dst.As16()}
	}
	err = n.Do(func() error {
		// IPPROTO_RAW: the packet brings its header, in both families.
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		return errors.Join(unix.Sendto(fd, packet, 0, to), unix.Close(fd))
	})
	if err != nil {
		return fmt.Errorf("send %v from %s: %w", p, n.Name(), err)
	}
	return nil
}
