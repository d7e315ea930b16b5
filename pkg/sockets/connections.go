package sockets

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// State is the state of a TCP socket (include/net/tcp_states.h).
type State uint8

// States of connections.
const (
	Established State = 1
	SynSent     State = 2
	FinWait1    State = 4
	CloseWait   State = 8
	LastAck     State = 9
	Closing     State = 11
)

// connectionStates are the states in which the kernel sends segments again.
const connectionStates = 1<<Established | 1<<SynSent | 1<<FinWait1 | 1<<CloseWait | 1<<LastAck | 1<<Closing

var stateNames = map[State]string{
	Established: "established", SynSent: "syn-sent", FinWait1: "fin-wait-1",
	CloseWait: "close-wait", LastAck: "last-ack", Closing: "closing",
}

// String returns the name that ss(8) shows.
func (s State) String() string {
	if name, ok := stateNames[s]; ok {
		return name
	}
	return fmt.Sprintf("state-%d", uint8(s))
}

// Connection is a TCP socket that has a peer. It has no references, so that a copy is
// independent.
type Connection struct {
	Local, Remote netip.AddrPort
	State         State
	// Inode is 0 if no process has the socket open.
	Inode uint32
	// Unread is the number of bytes that arrived in order and were not read, and Unsent the
	// number of bytes that were written and are not acknowledged.
	Unread, Unsent uint32
	// ReceiveMemory is the memory in bytes of received segments. Without Unread it is that of
	// segments that arrived after a gap.
	ReceiveMemory uint32
	TCPInfo
}

// Attributes and extensions of uapi/linux/inet_diag.h.
const (
	diagByType        = 18 // TCPDIAG_GETSOCK: sockets of both families
	connectionsLen    = 60 // struct inet_diag_req
	inetDiagMemInfo   = 1
	inetDiagInfo      = 2
	memInfoLen        = 16 // struct inet_diag_meminfo
	connectionsBuffer = 8 << 10
)

// Connections yields the TCP connections of the calling thread's network namespace, in the same
// *Connection, which is valid until the next iteration. The loop allocates nothing for a
// connection. It takes one dump, in which the kernel passes through the connections of all
// namespaces; without TCP sockets in this namespace it takes none. Connections that begin or end
// meanwhile may be missing.
func Connections() iter.Seq2[*Connection, error] {
	return func(yield func(*Connection, error) bool) {
		if hasNone("sockstat", "\nTCP: inuse 0 ") && hasNone("sockstat6", "TCP6: inuse 0\n") {
			return
		}
		c, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, connectionsBuffer)
		if err != nil {
			yield(nil, fmt.Errorf("open a netlink socket to list connections: %w", err))
			return
		}
		defer func() { _ = c.Close() }()
		connections(c, yield)
	}
}

// hasNone reports whether a file of socket statistics has a line. A file that cannot be read
// proves nothing.
func hasNone(name, line string) bool {
	// Fewer system calls than os.ReadFile makes, for callers with a thousand namespaces.
	fd, err := unix.Open("/proc/thread-self/net/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	var b [512]byte
	n, err := unix.Read(fd, b[:])
	return err == nil && bytes.Contains(b[:n], []byte(line))
}

func connections(c *netlink.Conn, yield func(*Connection, error) bool) {
	request := make([]byte, connectionsLen)
	request[3] = 1<<(inetDiagMemInfo-1) | 1<<(inetDiagInfo-1)
	binary.NativeEndian.PutUint32(request[52:], connectionStates)
	var x Connection
	for m, err := range c.Dump(diagByType, 0, request) {
		switch {
		case errors.Is(err, netlink.ErrInterrupted):
			return
		case err == nil:
			err = x.UnmarshalBinary(m.Body)
		}
		if err != nil {
			yield(nil, fmt.Errorf("list TCP connections: %w", err))
			return
		}
		if !yield(&x, nil) {
			return
		}
	}
}

// UnmarshalBinary reads a struct inet_diag_msg and its attributes. It allocates only to return
// a netlink.ErrMalformed.
func (x *Connection) UnmarshalBinary(b []byte) error {
	if len(b) < messageLen {
		return netlink.Malformed("a connection has %d bytes, not %d", len(b), messageLen)
	}
	*x = Connection{State: State(b[1])}
	local, remote := netip.AddrFrom4([4]byte(b[8:])), netip.AddrFrom4([4]byte(b[24:]))
	if b[0] == unix.AF_INET6 {
		local, remote = netip.AddrFrom16([16]byte(b[8:])).Unmap(), netip.AddrFrom16([16]byte(b[24:])).Unmap()
	}
	x.Local = netip.AddrPortFrom(local, binary.BigEndian.Uint16(b[4:]))
	x.Remote = netip.AddrPortFrom(remote, binary.BigEndian.Uint16(b[6:]))
	x.Unread = binary.NativeEndian.Uint32(b[56:])
	x.Unsent = binary.NativeEndian.Uint32(b[60:])
	x.Inode = binary.NativeEndian.Uint32(b[68:])
	a := netlink.Attributes{Rest: b[messageLen:]}
	for a.Next() {
		switch a.Type {
		case inetDiagMemInfo:
			if len(a.Data) < memInfoLen {
				return a.Malformed()
			}
			x.ReceiveMemory = binary.NativeEndian.Uint32(a.Data)
		case inetDiagInfo:
			x.read(a.Data)
		}
	}
	return a.Err()
}
