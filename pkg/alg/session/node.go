package session

import (
	"context"
	"errors"
	"net"
	"net/netip"
)

// ErrInUse is the error of Node.Open for a port that another flow uses.
var ErrInUse = errors.New("the port is in use")

// Media is a port of a client to which a server may send.
type Media struct {
	Identity string         // names the attachment
	Proto    uint8          // unix.IPPROTO_UDP or IPPROTO_TCP
	Client   netip.AddrPort // the container's
	Egress   netip.AddrPort // what the server was told
	Server   netip.AddrPort // port 0 if it is not known: any port of that address
}

// ErrDeleted is the cause of the end of a context whose attachment was deleted: see Serve.
var ErrDeleted = errors.New("the attachment was deleted")

// Node is what sessions need of the node. Its methods are called by several goroutines.
type Node interface {
	// Owner returns the attachment that has an address and asked for the helper. If ok is
	// false, the connection is copied unread.
	Owner(client netip.Addr) (identity string, ok bool)
	// Connect connects to the server as the client's attachment. egress is the source that
	// the server sees.
	Connect(ctx context.Context, client, server netip.AddrPort) (conn net.Conn, egress netip.AddrPort, err error)
	// Reserve returns n consecutive free ports of an egress address. The first is even if n
	// is 2: RTP uses an even port, and RTCP the next one (RFC 3550, section 11).
	Reserve(identity string, proto uint8, egress netip.Addr, n int) (first uint16, err error)
	// Release returns the n ports from first.
	Release(proto uint8, egress netip.Addr, first uint16, n int)
	// Open lets the server send to the client. It returns ErrInUse if another flow has the
	// port.
	Open(m Media) error
	// Renew keeps m open for another period, and opens it again if it has vanished.
	Renew(m Media) error
	// Close ends m at once. Without it, m ends by its timeout.
	Close(m Media) error
}
