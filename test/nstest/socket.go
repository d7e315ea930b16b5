package nstest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dial connects from the namespace. The network is "tcp" or "udp". Local may be
// zero, or name an address, a port (below 1024 too) or both. The caller closes
// the connection.
func (n *NS) Dial(ctx context.Context, network string, local, remote netip.AddrPort) (conn net.Conn, err error) {
	var d net.Dialer
	d.SetMultipathTCP(false)
	if local.Port() != 0 {
		d.Control = reuseAddr
	}
	if local != (netip.AddrPort{}) {
		if !local.Addr().IsValid() {
			local = netip.AddrPortFrom(unspecified(remote.Addr()), local.Port())
		}
		d.LocalAddr = net.TCPAddrFromAddrPort(local)
		if network == "udp" {
			d.LocalAddr = net.UDPAddrFromAddrPort(local)
		}
	}
	err = n.Do(func() error {
		conn, err = d.DialContext(ctx, network, remote.String())
		return err
	})
	return conn, describe(err, "from %s", n.Name())
}

// DialUDP connects a UDP socket from the namespace; local as for Dial. ICMP
// errors about what was sent come back as errors of Read.
func (n *NS) DialUDP(local, remote netip.AddrPort) (*net.UDPConn, error) {
	conn, err := n.Dial(context.Background(), "udp", local, remote)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// Listen opens a TCP listener in the namespace. The caller closes it.
func (n *NS) Listen(addr netip.AddrPort) (l *net.TCPListener, err error) {
	err = n.Do(func() (err error) {
		l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
		return err
	})
	return l, describe(err, "in %s", n.Name())
}

// ListenUDP opens a UDP socket in the namespace. The caller closes it.
func (n *NS) ListenUDP(addr netip.AddrPort) (c *net.UDPConn, err error) {
	err = n.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		return err
	})
	return c, describe(err, "in %s", n.Name())
}

// reuseAddr lets a fixed local port be used again while its last connection is
// in TIME_WAIT. It is for no other: of UDP sockets that all have it, the kernel gives
// several the same port (udp_lib_lport_inuse in net/ipv4/udp.c).
func reuseAddr(_, _ string, c syscall.RawConn) error {
	var err error
	ctrl := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	})
	if ctrl != nil {
		return ctrl
	}
	if err != nil {
		return fmt.Errorf("SO_REUSEADDR: %w", err)
	}
	return nil
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// addrPort is the address of a socket; one of IPv4 in an IPv6 socket as IPv4.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// shut closes a descriptor that was only read, or whose errors were reported already.
func shut(c io.Closer) { _ = c.Close() }
