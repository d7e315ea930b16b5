package helpers

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/alg/session"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/test/assert"
)

// TestClients finds attachments and addresses of sourceCIDRs, and no other address.
func TestClients(t *testing.T) {
	var c clients
	p := rtspPolicy()
	all := attached(p, 1, 2)
	all[1].Addresses = append(all[1].Addresses, all[0].Addresses[0]) // a duplicate belongs to the last
	c.set(all, ruleset.Sources{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.88.0.0/30"), netip.MustParsePrefix("fd00::/64")}, Policy: *p}, ruleset.Egress{})
	for a, want := range map[string]struct{ identity, element string }{
		"10.88.0.1": {"net/c2/eth0", "net/c2/eth0"},
		"10.88.0.2": {"net/c2/eth0", "net/c2/eth0"},
		"10.88.0.3": {"10.88.0.3", ""},
		"fd00::7":   {"fd00::7", ""},
		"10.88.0.4": {},
		"192.0.2.1": {},
	} {
		x, ok := c.at(netip.MustParseAddr(a))
		if ok != (want.identity != "") || ok && (x.identity != want.identity || x.element() != want.element || x.policy == nil) {
			t.Errorf("%s: %+v, %t", a, x, ok)
		}
		if again, named := c.named(x.identity); ok && (!named || again.identity != x.identity || again.isSource != x.isSource) {
			t.Errorf("%s: %s is %+v, %t", a, x.identity, again, named)
		}
	}
	for _, identity := range []string{"", "net/c3/eth0", "10.88.0.4", "x"} {
		if x, ok := c.named(identity); ok {
			t.Errorf("%q is %+v", identity, x)
		}
	}
}

// TestSessionsEnd ends the sessions of deleted attachments, with a cause.
func TestSessionsEnd(t *testing.T) {
	var s sessions
	first, endFirst := s.begin(t.Context(), "a")
	second, endSecond := s.begin(t.Context(), "a")
	other, endOther := s.begin(t.Context(), "b")
	endSecond()
	s.endExcept(func(identity string) bool { return identity != "a" })
	if !errors.Is(context.Cause(first), session.ErrDeleted) || errors.Is(context.Cause(second), session.ErrDeleted) || other.Err() != nil {
		t.Errorf("causes: %v, %v, %v", context.Cause(first), context.Cause(second), context.Cause(other))
	}
	endFirst()
	endOther()
	if len(s.running) != 0 {
		t.Errorf("still registered: %v", s.running)
	}
}

// TestMediaOfDeletedAttachments takes the media of some attachments, each once.
func TestMediaOfDeletedAttachments(t *testing.T) {
	var m media
	of := func(identity string, port uint16) session.Media {
		return session.Media{Identity: identity, Proto: unix.IPPROTO_UDP, Client: netip.AddrPortFrom(egress, port)}
	}
	for _, x := range []session.Media{of("a", 1), of("a", 2), of("a", 2), of("a", 3), of("b", 1)} {
		m.add(x)
	}
	m.remove(of("a", 3))
	m.remove(of("c", 3))
	onlyB := func(identity string) bool { return identity == "b" }
	if got := m.takeExcept(onlyB); len(got) != 2 {
		t.Errorf("media of a: %v", got)
	}
	if got := m.takeExcept(onlyB); len(got) != 0 || len(m.of("b")) != 1 {
		t.Errorf("again: %v; of b: %v", got, m.of("b"))
	}
}

// fakeTalk is a node whose sockets are pipes.
type fakeTalk struct {
	session.TalkNode
	clients *clients
	conn    net.Conn
}

func (n fakeTalk) Owner(a netip.Addr) (string, bool) {
	c, ok := n.clients.at(a)
	return c.identity, ok
}

func (n fakeTalk) ConnectUDP(_, _ netip.AddrPort) (net.Conn, netip.AddrPort, error) {
	return n.conn, netip.AddrPortFrom(egress, 40000), nil
}

// TestEndDeleted: paths of talk, and flows that an earlier masqd created, end with their
// attachment. They stay while it exists, also without a helper, and flows stay for the next
// attachment with the address.
func TestEndDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		ended := false
		go func() {
			_, _ = io.Copy(io.Discard, far)
			ended = true
		}()
		kernel := &fakeConn{}
		h := &Helpers{flows: &flows{conn: kernel}, o: Options{Log: slog.New(slog.DiscardHandler)}}
		h.talk = session.NewTalk(session.TalkOptions{Node: fakeTalk{clients: &h.clients, conn: near}})
		all := attached(rtspPolicy(), 1, 2)
		h.clients.set(all, ruleset.Sources{}, ruleset.Egress{})
		h.talk.Datagram(t.Context(), netip.MustParseAddrPort("10.88.0.1:5000"), netip.MustParseAddrPort("198.51.100.1:518"), []byte("x"), nil)
		h.inherited = map[string][]netip.Addr{}
		for i, a := range all {
			h.inherited[a.Identity()] = a.Addresses
			assert.NoError(t, kernel.Create(conntrack.Entry{
				Proto: unix.IPPROTO_UDP, Src: netip.AddrPortFrom(a.Addresses[0], 5000), Dst: netip.MustParseAddrPort("198.51.100.1:6000"),
				NAT: netip.AddrPortFrom(egress, uint16(41000+i)), Timeout: time.Minute,
			}))
		}
		next := all[1]
		next.ContainerID = "next"
		records := []*store.Record{{Attachment: all[0], Ready: true}, {Attachment: next, Ready: true}}
		h.clients.set(nil, ruleset.Sources{}, ruleset.Egress{})
		h.endDeleted(t.Context(), records)
		synctest.Wait()
		if ended || len(kernel.flows) != 2 {
			t.Errorf("of attachments that exist: ended %t, flows %v", ended, kernel.flows)
		}
		h.endDeleted(t.Context(), records[1:])
		synctest.Wait()
		if !ended || len(kernel.flows) != 1 || kernel.flows[0].Original.Src != next.Addresses[0] {
			t.Errorf("of a deleted attachment: ended %t, flows %v", ended, kernel.flows)
		}
	})
}

// TestForgetEnded forgets the media whose flow has ended.
func TestForgetEnded(t *testing.T) {
	kernel := &fakeConn{}
	h := &Helpers{flows: &flows{conn: kernel}}
	server := netip.MustParseAddrPort("198.51.100.1:6000")
	for i := range uint16(2) {
		h.media.add(session.Media{Identity: "a", Proto: unix.IPPROTO_UDP, Client: netip.AddrPortFrom(egress, 5000+i), Egress: netip.AddrPortFrom(egress, 41000+i), Server: server})
	}
	live := h.media.of("a")[0]
	assert.NoError(t, kernel.Create(entryOf(live, time.Minute)))
	h.forgetEnded("a")
	if left := h.media.of("a"); len(left) != 1 || left[0] != live {
		t.Errorf("left: %v", left)
	}
}

// TestProxied attributes a flow to its client until some minutes after its end.
func TestProxied(t *testing.T) {
	var p proxied
	local := localPort{unix.IPPROTO_TCP, netip.MustParseAddrPort("192.0.2.1:50000")}
	client := netip.MustParseAddrPort("10.88.0.5:5000")
	p.add(local, client)
	p.end(local)
	for x, want := range map[localPort]bool{
		local: true, {unix.IPPROTO_UDP, local.AddrPort}: false, {unix.IPPROTO_TCP, netip.AddrPortFrom(egress, 50001)}: false,
	} {
		if got, ok := p.clientOf(x); ok != want || ok && got != client {
			t.Errorf("%v: %s, %t", x, got, ok)
		}
	}
	f := p.flows[local]
	f.ended = time.Now().Add(-2 * proxiedRetention)
	p.flows[local] = f
	if _, ok := p.clientOf(local); ok {
		t.Error("a flow is attributed long after its end")
	}
	for i := range 2 * minPrune {
		x := localPort{unix.IPPROTO_TCP, netip.AddrPortFrom(egress, uint16(20000+i))}
		p.add(x, client)
		ended := p.flows[x]
		ended.ended = time.Now().Add(-2 * proxiedRetention)
		p.flows[x] = ended
	}
	if len(p.flows) > minPrune+1 {
		t.Errorf("%d flows are kept", len(p.flows))
	}
}

// TestServedByPolicy: a policy that translates nothing needs no helper.
func TestServedByPolicy(t *testing.T) {
	p := rtspPolicy()
	direct := rtspPolicy()
	direct.EgressDirect = true
	plain := masq.Default()
	for _, tt := range []struct {
		policy *masq.Policy
		want   bool
	}{{p, true}, {direct, false}, {&plain, false}} {
		if got := isServed(tt.policy); got != tt.want {
			t.Errorf("%+v: %t", tt.policy.Helpers, got)
		}
	}
}
