package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Socket is a socket of the node that receives what comes to a port.
type Socket struct {
	Protocol uint8 // unix.IPPROTO_TCP or unix.IPPROTO_UDP
	netip.AddrPort
}

// States of sockets (include/net/tcp_states.h). A UDP socket that is not connected is in
// the state of a closed one.
const (
	tcpClose  = 7
	tcpListen = 10
)

// The messages of sock_diag (uapi/linux/inet_diag.h).
const (
	diagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	requestLen   = 56 // struct inet_diag_req_v2
	messageLen   = 72 // struct inet_diag_msg
)

// List returns the sockets of the calling thread's network namespace.
func List() ([]Socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	var out []Socket
	for _, q := range []struct {
		protocol uint8
		state    uint32
	}{{unix.IPPROTO_TCP, tcpListen}, {unix.IPPROTO_UDP, tcpClose}} {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			if out, err = dump(fd, family, q.protocol, q.state, out); err != nil {
				return nil, fmt.Errorf("list sockets of family %d, protocol %d: %w", family, q.protocol, err)
			}
		}
	}
	return out, nil
}

// dump appends the sockets of one family, protocol and state.
func dump(fd int, family, protocol uint8, state uint32, out []Socket) ([]Socket, error) {
	b := make([]byte, unix.SizeofNlMsghdr+requestLen)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], diagByFamily)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b[unix.SizeofNlMsghdr], b[unix.SizeofNlMsghdr+1] = family, protocol
	binary.NativeEndian.PutUint32(b[unix.SizeofNlMsghdr+4:], 1<<state)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	buf := make([]byte, 32<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, os.NewSyscallError("recvfrom", err)
		}
		var done bool
		if out, done, err = parse(buf[:n], protocol, out); done || err != nil {
			return out, err
		}
	}
}

var errTruncated = errors.New("a message is cut off")

// parse appends the sockets of a datagram of messages; done says that the dump has ended.
// A kernel without the part that lists sockets of a protocol answers ENOENT: then none are
// known.
func parse(b []byte, protocol uint8, out []Socket) (_ []Socket, done bool, err error) {
	for len(b) > 0 {
		if len(b) < unix.SizeofNlMsghdr {
			return out, false, errTruncated
		}
		n := int(binary.NativeEndian.Uint32(b))
		if n < unix.SizeofNlMsghdr || n > len(b) {
			return out, false, errTruncated
		}
		body := b[unix.SizeofNlMsghdr:n]
		switch binary.NativeEndian.Uint16(b[4:]) {
		case unix.NLMSG_DONE:
			return out, true, nil
		case unix.NLMSG_ERROR:
			if len(body) < 4 {
				return out, false, errTruncated
			}
			errno := unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
			if errno == 0 || errno == unix.ENOENT {
				return out, true, nil
			}
			return out, false, errno
		case diagByFamily:
			if len(body) < messageLen {
				return out, false, errTruncated
			}
			addr := netip.AddrFrom4([4]byte(body[8:]))
			if body[0] == unix.AF_INET6 {
				addr = netip.AddrFrom16([16]byte(body[8:])).Unmap()
			}
			out = append(out, Socket{protocol, netip.AddrPortFrom(addr, binary.BigEndian.Uint16(body[4:]))})
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return out, false, nil
}
