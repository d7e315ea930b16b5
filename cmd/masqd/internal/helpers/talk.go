package helpers

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/alg/session"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// ConnectUDP implements session.TalkNode. The first datagram already names the egress
// address and port, so masqd chooses them: it reserves a port, and creates the flow.
func (h *Helpers) ConnectUDP(from, server netip.AddrPort) (_ net.Conn, egress netip.AddrPort, err error) {
	c, ok := h.clients.at(from.Addr())
	if !ok {
		return nil, egress, errNoClient
	}
	family := masq.FamilyOf(server.Addr())
	address, err := h.local(family)
	if err != nil {
		return nil, egress, err
	}
	source := address
	if all := h.clients.node().Of(*c.policy, family); len(all) > 0 {
		source = all[rand.IntN(len(all))]
	} else if len(c.policy.SNATAddressesOf(family)) > 0 {
		return nil, egress, errors.New("the node has none of the policy's egress addresses")
	}
	port, err := h.Reserve(c.identity, unix.IPPROTO_UDP, source, 1)
	if err != nil {
		return nil, egress, err
	}
	release := func() { h.Release(unix.IPPROTO_UDP, source, port, 1) }
	conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, 0)), net.UDPAddrFromAddrPort(server))
	if err != nil {
		release()
		return nil, egress, err
	}
	p := &talkPath{UDPConn: conn, flows: h.flows, entry: conntrack.Entry{
		Proto: unix.IPPROTO_UDP, Src: localOf(conn.LocalAddr()), Dst: server,
		NAT: netip.AddrPortFrom(source, port), Timeout: session.TalkTimeout,
	}}
	local := localPort{unix.IPPROTO_UDP, p.entry.Src}
	h.proxied.add(local, from) // first, so that the NAT log knows the flow that begins
	if err := h.flows.create(p.entry); err != nil {
		h.proxied.end(local)
		release()
		return nil, egress, errors.Join(fmt.Errorf("create the flow to %s: %w", server, err), conn.Close())
	}
	p.end = func() {
		h.proxied.end(local)
		if err := h.flows.delete(p.entry); err != nil {
			h.o.Log.Debug("a flow of talk cannot be deleted", "server", server, "err", err)
		}
		release()
	}
	return p, p.entry.NAT, nil
}

// talkPath is a socket of masqd that sends to a talk daemon for a container.
type talkPath struct {
	*net.UDPConn
	flows *flows
	entry conntrack.Entry
	once  sync.Once
	end   func()
}

// Write sends a datagram. Without an answer the kernel ends the flow after 30 s
// (net.netfilter.nf_conntrack_udp_timeout).
func (p *talkPath) Write(b []byte) (int, error) {
	if err := p.flows.renew(p.entry); err != nil {
		return 0, err
	}
	return p.UDPConn.Write(b)
}

// Close releases the port and deletes the flow, and closes the socket then: another socket
// can have its port afterwards.
func (p *talkPath) Close() error {
	p.once.Do(p.end)
	return p.UDPConn.Close()
}

// DialUDP implements session.TalkNode.
func (h *Helpers) DialUDP(container netip.AddrPort) (net.Conn, error) {
	return net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(container))
}
