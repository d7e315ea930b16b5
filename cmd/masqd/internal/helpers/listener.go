package helpers

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// listener accepts the redirected flows of a family.
type listener struct {
	address netip.Addr
	tcp     *net.TCPListener
	udp     *net.UDPConn // nil: no helper of the family uses UDP
	// isClean: the flows to earlier UDP listeners of the address have been deleted.
	isClean bool
}

// listen listens at an address of the node.
func listen(ctx context.Context, f masq.Family, a netip.Addr) (*listener, error) {
	config := net.ListenConfig{KeepAliveConfig: keepAlive}
	config.SetMultipathTCP(false) // for SO_ORIGINAL_DST
	version := "6"
	if f == masq.IPv4 {
		version = "4"
	}
	at := netip.AddrPortFrom(a, 0).String()
	t, err := config.Listen(ctx, "tcp"+version, at)
	if err != nil {
		return nil, err
	}
	l := &listener{address: a}
	l.tcp, _ = t.(*net.TCPListener)
	if f == masq.IPv4 { // talk is for IPv4 only
		u, err := config.ListenPacket(ctx, "udp4", at)
		if err != nil {
			return nil, errors.Join(err, l.close())
		}
		l.udp, _ = u.(*net.UDPConn)
	}
	return l, nil
}

func (l *listener) close() error {
	err := l.tcp.Close()
	if l.udp != nil {
		err = errors.Join(err, l.udp.Close())
	}
	return err
}

// addresses returns the addresses and ports for the rules.
func (l *listener) addresses() (out ruleset.Listeners) {
	out.TCP = localOf(l.tcp.Addr())
	if l.udp != nil {
		out.UDP = localOf(l.udp.LocalAddr())
	}
	return out
}

func localOf(a net.Addr) netip.AddrPort {
	var p netip.AddrPort
	switch x := a.(type) {
	case *net.TCPAddr:
		p = x.AddrPort()
	case *net.UDPAddr:
		p = x.AddrPort()
	}
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// acceptRetry is the pause after a failed accept: masqd or the node has no free descriptor.
const acceptRetry = 100 * time.Millisecond

// accept accepts connections until the listener is closed.
func (h *Helpers) accept(ctx context.Context, l *listener, log *slog.Logger) {
	logged := false
	for {
		c, err := l.tcp.AcceptTCP()
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		if err != nil {
			if !logged {
				log.Warn("redirected connections cannot be accepted", "err", err)
				logged = true
			}
			select {
			case <-ctx.Done():
			case <-time.After(acceptRetry):
			}
			continue
		}
		logged = false
		h.running.Go(func() { h.serve(ctx, c) })
	}
}

// serve serves a redirected connection.
func (h *Helpers) serve(ctx context.Context, c *net.TCPConn) {
	from, to := localOf(c.RemoteAddr()), localOf(c.LocalAddr())
	dst, err := originalDst(c)
	owner, ok := h.clients.at(from.Addr())
	// A connection to the listener itself would be a connection of masqd to itself, and so on.
	if err != nil || !ok || dst == to || h.isListener(dst) {
		_ = c.SetLinger(0)
		_ = c.Close()
		return
	}
	ctx, end := h.sessions.begin(ctx, owner.identity)
	defer end()
	h.server.Serve(ctx, c, dst)
	h.forgetEnded(owner.identity)
}

// isListener reports whether an address and port is one of a listener.
func (h *Helpers) isListener(a netip.AddrPort) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.listeners {
		if x := l.addresses(); a == x.TCP || a == x.UDP {
			return true
		}
	}
	return false
}

// maxDatagram is more than the longest message of talk (84 bytes). A longer datagram is not one,
// and is dropped.
const maxDatagram = 1500

// receive receives datagrams until the listener is closed.
func (h *Helpers) receive(ctx context.Context, l *listener) {
	b := make([]byte, maxDatagram+1)
	to := l.addresses().UDP
	for {
		n, from, err := l.udp.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		if err != nil || n > maxDatagram {
			continue // an ICMP error about an answer, or not a message of talk
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		// The kernel has no SO_ORIGINAL_DST for UDP (getorigdst in nf_conntrack_proto.c).
		flow, err := h.flows.get(conntrack.Tuple{Proto: unix.IPPROTO_UDP, Src: to.Addr(), SrcPort: to.Port(), Dst: from.Addr(), DstPort: from.Port()})
		if err != nil {
			continue
		}
		dst := netip.AddrPortFrom(flow.Original.Dst, flow.Original.DstPort)
		if dst == to {
			continue
		}
		h.talk.Datagram(ctx, from, dst, b[:n], l.udp)
	}
}
