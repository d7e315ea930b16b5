package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Socket is a socket of the node, and the port and address on which it receives.
type Socket struct {
	Protocol uint8 // unix.IPPROTO_TCP or unix.IPPROTO_UDP
	netip.AddrPort
}

// States of sockets (include/net/tcp_states.h). A UDP socket that is not connected has the
// state of a closed one.
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

// listAttempts bounds how often sockets are listed again because they change meanwhile.
const listAttempts = 10

// List returns the sockets of the calling thread's network namespace that receive from any
// peer.
func List() ([]Socket, error) {
	c, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, netlink.DumpBuffer)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket to list sockets: %w", err)
	}
	defer func() { _ = c.Close() }()
	return list(c)
}

func list(c *netlink.Conn) (out []Socket, err error) {
	for _, q := range []struct {
		name     string
		protocol uint8
		state    uint32
	}{{"TCP", unix.IPPROTO_TCP, tcpListen}, {"UDP", unix.IPPROTO_UDP, tcpClose}} {
		for _, f := range []struct {
			name  string
			value uint8
		}{{"IPv4", unix.AF_INET}, {"IPv6", unix.AF_INET6}} {
			found, err := listOf(c, f.value, q.protocol, q.state)
			if err != nil {
				return nil, fmt.Errorf("list the %s sockets of %s: %w", q.name, f.name, err)
			}
			out = append(out, found...)
		}
	}
	return out, nil
}

// listOf returns the sockets of one family, protocol and state. A kernel that cannot list
// sockets of a protocol answers ENOENT: then listOf returns none.
func listOf(c *netlink.Conn, family, protocol uint8, state uint32) (out []Socket, err error) {
	request := make([]byte, requestLen)
	request[0], request[1] = family, protocol
	binary.NativeEndian.PutUint32(request[4:], 1<<state)
	for range listAttempts {
		out, err = nil, nil
		for m, failed := range c.Dump(diagByFamily, 0, request) {
			if failed != nil {
				err = failed
				break
			}
			s, failed := parse(m.Body, protocol)
			if failed != nil {
				return nil, failed
			}
			out = append(out, s)
		}
		switch {
		case errors.Is(err, unix.ENOENT):
			return nil, nil
		case !errors.Is(err, netlink.ErrInterrupted):
			return out, err
		}
	}
	return nil, err
}

// parse reads a struct inet_diag_msg.
func parse(b []byte, protocol uint8) (Socket, error) {
	if len(b) < messageLen {
		return Socket{}, netlink.Malformed("a socket has %d bytes, not %d", len(b), messageLen)
	}
	addr := netip.AddrFrom4([4]byte(b[8:]))
	if b[0] == unix.AF_INET6 {
		addr = netip.AddrFrom16([16]byte(b[8:])).Unmap()
	}
	return Socket{protocol, netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[4:]))}, nil
}
