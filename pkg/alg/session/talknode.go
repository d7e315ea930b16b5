package session

import (
	"net"
	"net/netip"
)

// TalkNode is what Talk needs of the node, besides what all sessions need.
type TalkNode interface {
	Node
	// ConnectUDP returns a UDP socket of the node that sends to a server as the client's
	// attachment. egress is the source that the server sees.
	ConnectUDP(client, server netip.AddrPort) (conn net.Conn, egress netip.AddrPort, err error)
	// DialUDP returns a UDP socket of the node that sends to a container.
	DialUDP(container netip.AddrPort) (net.Conn, error)
}

// Datagrams is the socket to which the node redirects datagrams. Answers to a client leave
// with the address that the client has sent to.
type Datagrams interface {
	LocalAddr() net.Addr
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
}
