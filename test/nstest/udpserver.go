package nstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// Datagram is one datagram as a UDPServer saw it.
type Datagram struct {
	Source netip.AddrPort
	Length int // payload length in bytes
}

// UDPServer echoes each datagram and records its source.
type UDPServer struct {
	addr netip.AddrPort
	conn *net.UDPConn
	seen record[Datagram]
	wg   sync.WaitGroup
}

// ServeUDP starts a UDPServer. Without a specific address, answers may leave with another
// address. The server ends with the namespace or by Close.
func (n *NS) ServeUDP(addr netip.AddrPort) (*UDPServer, error) {
	c, err := n.ListenUDP(addr)
	if err != nil {
		return nil, err
	}
	s := &UDPServer{addr: addrPort(c.LocalAddr()), conn: c}
	s.wg.Go(s.run)
	return s, n.own(s)
}

func (s *UDPServer) run() {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			continue // an ICMP error about an earlier answer
		}
		s.seen.add(Datagram{netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), n})
		_, _ = s.conn.WriteToUDPAddrPort(buf[:n], from) // a lost answer is like a lost packet
	}
}

// Addr is the address of the server.
func (s *UDPServer) Addr() netip.AddrPort { return s.addr }

// Seen returns the datagrams so far, in order.
func (s *UDPServer) Seen() []Datagram { return s.seen.all() }

// WaitSeen waits until there were n datagrams and returns them.
func (s *UDPServer) WaitSeen(ctx context.Context, n int) ([]Datagram, error) {
	return s.seen.wait(ctx, func(all []Datagram) bool { return len(all) >= n })
}

// Close ends the server.
func (s *UDPServer) Close() error {
	err := s.conn.Close()
	s.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// EchoUDP sends one datagram of size bytes to a UDPServer and waits for its echo. It sends only
// once: a datagram larger than the path MTU is lost while the sender learns the MTU, so callers
// that expect this call EchoUDP again.
func (n *NS) EchoUDP(ctx context.Context, local, server netip.AddrPort, size int) error {
	c, err := n.Dial(ctx, "udp", local, server)
	if err != nil {
		return err
	}
	defer shut(c)
	defer bound(ctx, c)()
	if _, err := c.Write(make([]byte, size)); err != nil {
		return inContext(ctx, err)
	}
	got, err := c.Read(make([]byte, 1<<16))
	if err != nil {
		return inContext(ctx, err)
	}
	if got != size {
		return fmt.Errorf("sent %d bytes to %s, %d came back", size, server, got)
	}
	return nil
}
