package helpers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/alg/session"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// keepAlive finds peers that have vanished; silence for hours is normal.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: session.KeepAlive, Interval: session.KeepAlive}

// connection is a connection of masqd to a server.
type connection struct {
	*net.TCPConn
	once sync.Once
	end  func()
}

// Close closes the connection. Its element is removed first: another connection can have the
// port afterwards.
func (c *connection) Close() error {
	c.once.Do(c.end)
	return c.TCPConn.Close()
}

// Connect implements session.Node.
func (h *Helpers) Connect(ctx context.Context, from, server netip.AddrPort) (_ net.Conn, egress netip.AddrPort, err error) {
	c, ok := h.clients.at(from.Addr())
	if !ok {
		return nil, egress, errNoClient
	}
	address, err := h.local(masq.FamilyOf(server.Addr()))
	if err != nil {
		return nil, egress, err
	}
	var local netip.AddrPort
	var end func()
	dialer := net.Dialer{KeepAliveConfig: keepAlive, ControlContext: func(ctx context.Context, _, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			if failed = clamp(int(fd), c.policy.MSSTo(server.Addr())); failed != nil {
				return
			}
			if local, failed = bind(int(fd), address); failed == nil {
				end, failed = h.speak(ctx, c, unix.IPPROTO_TCP, local, from)
			}
		})
		return errors.Join(err, failed)
	}}
	dialer.SetMultipathTCP(false)
	made, err := dialer.DialContext(ctx, "tcp", server.String())
	if err != nil {
		if end != nil {
			end()
		}
		return nil, egress, err
	}
	tcp, _ := made.(*net.TCPConn)
	out := &connection{TCPConn: tcp, end: end}
	flow, err := h.flows.get(conntrack.Tuple{Proto: unix.IPPROTO_TCP, Src: local.Addr(), SrcPort: local.Port(), Dst: server.Addr(), DstPort: server.Port()})
	if err != nil {
		return nil, egress, errors.Join(fmt.Errorf("find out the source that %s sees: %w", server, err), out.Close())
	}
	return out, netip.AddrPortFrom(flow.Reply.Dst, flow.Reply.DstPort), nil
}

// minMSS is the lowest value that the kernel accepts (TCP_MIN_MSS in include/net/tcp.h).
const minMSS = 88

// clamp limits the segments of a socket in both directions, unless mss is 0. Rules cannot do
// that: they clamp what the node forwards, and masqd's connection is the node's own.
func clamp(fd, mss int) error {
	if mss == 0 {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, max(mss, minMSS)); err != nil {
		return fmt.Errorf("set the maximum segment size %d: %w", mss, err)
	}
	return nil
}

// bind binds a socket to an address and a port that the kernel chooses.
func bind(fd int, a netip.Addr) (local netip.AddrPort, err error) {
	var to unix.Sockaddr = &unix.SockaddrInet6{Addr: a.As16()}
	if a.Is4() {
		to = &unix.SockaddrInet4{Addr: a.As4()}
	}
	if err := unix.Bind(fd, to); err != nil {
		return local, fmt.Errorf("bind to %s: %w", a, err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return local, err
	}
	switch x := bound.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(a, uint16(x.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(a, uint16(x.Port)), nil
	}
	return local, fmt.Errorf("socket has the address %v", bound)
}
