package session

import (
	"context"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/alg/talk"
)

// callKey identifies a call: a program of a container, and the host that it calls.
type callKey struct {
	program netip.AddrPort // TCP address at which the container's program is called
	server  netip.Addr
}

// call is a call of a container to a user of another host.
type call struct {
	identity       string
	caller, callee string
	// program is the TCP port that was announced, and daemon the UDP port by which the
	// called host asks the caller's daemon.
	program, daemon Media
	renewed         time.Time
	end             *time.Timer
}

// announce opens the ports of a call, and returns the TCP address to announce.
func (t *Talk) announce(identity string, client, server, egress netip.AddrPort, r talk.Request, socket Datagrams) (netip.AddrPort, error) {
	if r.Addr.Addr() != client.Addr() || r.Addr.Port() == 0 {
		return netip.AddrPort{}, errForeign
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	k := callKey{r.Addr, server.Addr()}
	c := t.calls[k]
	if c != nil {
		c.caller, c.callee = r.Caller, r.Callee
		c.end.Reset(TalkTimeout)
		if time.Since(c.renewed) >= talkRenewInterval {
			c.renewed = time.Now()
			t.letIn(c)
			if err := t.node.Renew(c.program); err != nil {
				return netip.AddrPort{}, err
			}
		}
		return c.program.Egress, nil
	}
	if len(t.calls) >= MaxTalkCalls || !t.take(identity) {
		return netip.AddrPort{}, errLimit
	}
	port, err := t.node.Reserve(identity, unix.IPPROTO_TCP, egress.Addr(), 1)
	if err != nil {
		t.give(identity)
		return netip.AddrPort{}, err
	}
	to := netip.AddrPortFrom(server.Addr(), 0)
	c = &call{
		identity: identity, caller: r.Caller, callee: r.Callee, renewed: time.Now(),
		program: Media{identity, unix.IPPROTO_TCP, r.Addr, netip.AddrPortFrom(egress.Addr(), port), to},
		daemon:  Media{identity, unix.IPPROTO_UDP, addrPortOf(socket.LocalAddr()), netip.AddrPortFrom(egress.Addr(), r.Format.Port()), to},
	}
	if err := t.node.Open(c.program); err != nil {
		t.node.Release(unix.IPPROTO_TCP, egress.Addr(), port, 1)
		t.give(identity)
		return netip.AddrPort{}, err
	}
	t.counters.opened(HelperTalk, 1)
	t.letIn(c)
	t.calls[k] = c
	c.end = time.AfterFunc(TalkTimeout, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.drop(k, c)
	})
	return c.program.Egress, nil
}

// letIn lets the daemon of the called host ask for the call. Without that, for example
// because the node runs a talk daemon, the callee is rung but cannot answer.
func (t *Talk) letIn(c *call) {
	if err := t.node.Renew(c.daemon); err != nil {
		t.refuse(c.identity, c.daemon.Server, c.daemon.Egress, err)
	}
}

// drop ends a call. t.mu must be held.
func (t *Talk) drop(k callKey, c *call) {
	if t.calls[k] != c {
		return
	}
	delete(t.calls, k)
	c.end.Stop()
	t.give(c.identity)
	_ = t.node.Close(c.program)
	t.node.Release(c.program.Proto, c.program.Egress.Addr(), c.program.Egress.Port(), 1)
	var other *call // of another attachment, for which the same port is open
	for _, x := range t.calls {
		switch {
		case x.daemon == c.daemon:
			return
		case x.daemon.Egress == c.daemon.Egress && x.daemon.Server == c.daemon.Server:
			other = x
		}
	}
	_ = t.node.Close(c.daemon)
	if other != nil {
		t.letIn(other)
	}
}

// hangUp ends the calls that a client deletes at the daemon of the called host.
func (t *Talk) hangUp(client, server netip.Addr, r talk.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, c := range t.calls {
		if k.program.Addr() == client && k.server == server && c.caller == r.Caller && c.callee == r.Callee {
			t.drop(k, c)
		}
	}
}

// fromServer passes on a request of a called host to the daemon of the caller's container.
func (t *Talk) fromServer(ctx context.Context, server, egress netip.AddrPort, b []byte, socket Datagrams) {
	r, err := parseTalk(b)
	if err != nil {
		t.counters.unreadable(HelperTalk, Invalid)
		return
	}
	identity, container, ok := t.callerOf(server.Addr(), egress.Addr(), r)
	if !ok {
		t.refuse("", server, egress, errForeign)
		return
	}
	answer := func(b []byte) {
		if t.replace(b, r.Format, container, server.Addr()) {
			_, _ = socket.WriteToUDPAddrPort(b, server)
		}
	}
	to := netip.AddrPortFrom(container, egress.Port())
	p, err := t.path(ctx, pathKey{server, to}, identity, func() (net.Conn, netip.AddrPort, error) {
		conn, err := t.node.DialUDP(to)
		if err != nil {
			return nil, netip.AddrPort{}, err
		}
		return conn, addrPortOf(conn.LocalAddr()), nil
	}, answer)
	if err != nil {
		t.refuse(identity, server, egress, err)
		return
	}
	// The daemons of BSD answer to Control, and the one of Linux to the source.
	if err := talk.Rewrite(r.Format, b, netip.AddrPort{}, p.egress); err == nil {
		p.send(b)
	}
}

// callerOf returns the container that has called a host, by the names in the host's request.
// If only one container has called the host, the names need not agree: users can be called
// by other names.
func (t *Talk) callerOf(server, egress netip.Addr, r talk.Request) (identity string, container netip.Addr, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	containers := map[netip.Addr]string{}
	for k, c := range t.calls {
		if k.server != server || c.program.Egress.Addr() != egress {
			continue
		}
		if c.caller == r.Callee && c.callee == r.Caller {
			return c.identity, k.program.Addr(), true
		}
		containers[k.program.Addr()] = c.identity
	}
	if len(containers) != 1 {
		return "", netip.Addr{}, false
	}
	for container, identity := range containers {
		return identity, container, true
	}
	return "", netip.Addr{}, false
}

// replace replaces the address of a program in the response of a container's daemon. It
// reports whether the response can be passed on: it may name only a port that the container
// announced to the host.
func (t *Talk) replace(b []byte, f talk.Format, container, server netip.Addr) bool {
	r, err := talk.ParseResponse(f, b)
	if err != nil {
		t.counters.unreadable(HelperTalk, Invalid)
		return false
	}
	if !r.HasAddr() {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.calls[callKey{r.Addr, server}]
	if r.Addr.Addr() != container || c == nil {
		t.refuse("", r.Addr, netip.AddrPortFrom(server, 0), errForeign)
		return false
	}
	return talk.RewriteResponse(f, b, c.program.Egress) == nil
}

// addrPortOf returns the address and port of a UDP socket.
func addrPortOf(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return unmapped(u.AddrPort())
}
