package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/alg/talk"
)

// The hosts of a call: alice in a container calls bob outside.
var (
	aliceSocket  = netip.MustParseAddrPort("10.88.0.2:40001") // of her program, for requests
	aliceProgram = netip.MustParseAddrPort("10.88.0.2:40002") // TCP
	bobDaemon    = netip.MustParseAddrPort("198.51.100.7:518")
	bobSocket    = netip.MustParseAddrPort("198.51.100.7:33000")
	talkEgress   = netip.MustParseAddr("192.0.2.53")
	talkListener = netip.MustParseAddrPort("192.0.2.1:40518")
)

// fakeTalkNode is a TalkNode in memory.
type fakeTalkNode struct {
	t testing.TB

	mu        sync.Mutex
	owners    map[netip.Addr]string
	next      uint16
	reserved  map[fakePort]bool
	open      map[Media]bool
	renewals  int
	openErr   func(Media) error
	conns     map[netip.AddrPort]*fakeUDP // by destination, the last one
	connected int
}

func newFakeTalkNode(t testing.TB) *fakeTalkNode {
	return &fakeTalkNode{
		t: t, next: 30000, reserved: map[fakePort]bool{}, open: map[Media]bool{}, conns: map[netip.AddrPort]*fakeUDP{},
		owners: map[netip.Addr]string{aliceSocket.Addr(): "net/a/eth0", netip.MustParseAddr("10.88.0.3"): "net/b/eth0"},
	}
}

func (n *fakeTalkNode) Owner(a netip.Addr) (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	id, ok := n.owners[a]
	return id, ok
}

func (*fakeTalkNode) Connect(context.Context, netip.AddrPort, netip.AddrPort) (net.Conn, netip.AddrPort, error) {
	return nil, netip.AddrPort{}, errors.New("talk connects by UDP")
}

func (n *fakeTalkNode) Reserve(_ string, proto uint8, egress netip.Addr, count int) (uint16, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if proto != unix.IPPROTO_TCP || count != 1 {
		n.t.Errorf("Reserve(%d, %d)", proto, count)
	}
	n.next++
	n.reserved[fakePort{proto, egress, n.next}] = true
	return n.next, nil
}

func (n *fakeTalkNode) Release(proto uint8, egress netip.Addr, first uint16, _ int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := fakePort{proto, egress, first}
	if !n.reserved[p] {
		n.t.Errorf("%v is released but not reserved", p)
	}
	delete(n.reserved, p)
}

func (n *fakeTalkNode) Open(m Media) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.openErr != nil {
		if err := n.openErr(m); err != nil {
			return err
		}
	}
	n.open[m] = true
	return nil
}

func (n *fakeTalkNode) Renew(m Media) error {
	n.mu.Lock()
	n.renewals++
	n.mu.Unlock()
	return n.Open(m)
}

func (n *fakeTalkNode) Close(m Media) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.open, m)
	return nil
}

func (n *fakeTalkNode) ConnectUDP(_, server netip.AddrPort) (net.Conn, netip.AddrPort, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.connected++
	egress := netip.AddrPortFrom(talkEgress, uint16(20000+n.connected))
	c := newFakeUDP(egress)
	n.conns[server] = c
	return c, egress, nil
}

func (n *fakeTalkNode) DialUDP(container netip.AddrPort) (net.Conn, error) {
	c := newFakeUDP(netip.AddrPortFrom(talkListener.Addr(), 50000))
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[container] = c
	return c, nil
}

// to returns the socket that sends to a destination.
func (n *fakeTalkNode) to(a netip.AddrPort) *fakeUDP {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.conns[a]
	if c == nil {
		n.t.Fatalf("nothing was sent to %s", a)
	}
	return c
}

// opened returns the open media, sorted.
func (n *fakeTalkNode) opened() []Media {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.SortedFunc(maps.Keys(n.open), func(a, b Media) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

// fakeUDP is a UDP socket of the node. Datagrams that the peer sends to it come by in.
type fakeUDP struct {
	net.Conn
	local netip.AddrPort
	out   chan []byte
	in    chan []byte
	close sync.Once
	ended chan struct{}

	mu       sync.Mutex
	timer    *time.Timer
	expired  chan struct{} // closed at the deadline
	replaced chan struct{} // closed when the deadline changes
}

func newFakeUDP(local netip.AddrPort) *fakeUDP {
	return &fakeUDP{local: local, out: make(chan []byte, 1000), in: make(chan []byte), ended: make(chan struct{}), replaced: make(chan struct{})}
}

func (c *fakeUDP) Write(b []byte) (int, error) {
	c.out <- slices.Clone(b)
	return len(b), nil
}

func (c *fakeUDP) Read(b []byte) (int, error) {
	for {
		c.mu.Lock()
		expired, replaced := c.expired, c.replaced
		c.mu.Unlock()
		select {
		case x := <-c.in:
			return copy(b, x), nil
		case <-c.ended:
			return 0, net.ErrClosed
		case <-expired:
			return 0, os.ErrDeadlineExceeded
		case <-replaced:
		}
	}
}

func (c *fakeUDP) SetReadDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	expired := make(chan struct{})
	c.timer = time.AfterFunc(time.Until(at), func() { close(expired) })
	close(c.replaced)
	c.expired, c.replaced = expired, make(chan struct{})
	return nil
}

func (c *fakeUDP) Close() error {
	c.close.Do(func() { close(c.ended) })
	return nil
}

func (c *fakeUDP) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.local) }

// fakeListener is the socket to which datagrams are redirected.
type fakeListener struct{ out chan sentDatagram }

type sentDatagram struct {
	to netip.AddrPort
	b  []byte
}

func newFakeListener() *fakeListener { return &fakeListener{make(chan sentDatagram, 1000)} }

func (*fakeListener) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(talkListener) }

func (l *fakeListener) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	l.out <- sentDatagram{to, slices.Clone(b)}
	return len(b), nil
}

// talkRequest returns a request of alice to bob.
func talkRequest(t testing.TB, f talk.Format, typ talk.Type, change func(*talk.Request)) []byte {
	t.Helper()
	r := talk.Request{Format: f, Type: typ, ID: 7, Addr: aliceProgram, Control: aliceSocket, Caller: "alice", Callee: "bob"}
	if change != nil {
		change(&r)
	}
	b, err := r.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parsedRequest(t testing.TB, f talk.Format, b []byte) talk.Request {
	t.Helper()
	r, err := talk.ParseRequest(f, b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestTalkCall makes a call from a container until the called host asks for the caller's
// address.
func TestTalkCall(t *testing.T) {
	for _, f := range []talk.Format{talk.NTalk, talk.Talk} {
		synctest.Test(t, func(t *testing.T) { testTalkCall(t, f) })
	}
}

func testTalkCall(t *testing.T, f talk.Format) {
	t.Helper()
	n, l, counters := newFakeTalkNode(t), newFakeListener(), &Counters{}
	talks := NewTalk(TalkOptions{Node: n, Counters: counters})
	ctx, cancel := context.WithCancel(t.Context())
	daemon := netip.AddrPortFrom(bobDaemon.Addr(), f.Port())

	// alice -> bob: has bob called alice?
	talks.Datagram(ctx, aliceSocket, daemon, talkRequest(t, f, talk.LookUp, nil), l)
	out := n.to(daemon)
	egress := netip.AddrPortFrom(talkEgress, 20001)
	if r := parsedRequest(t, f, <-out.out); r.Control != egress || r.Addr != aliceProgram {
		t.Errorf("%s: lookup: %+v", f, r)
	}
	none, _ := talk.Response{Format: f, Type: talk.LookUp, Answer: talk.NotHere}.AppendBinary(nil)
	out.in <- none
	if got := <-l.out; got.to != aliceSocket || string(got.b) != string(none) {
		t.Errorf("%s: the answer is %v", f, got)
	}
	if got := n.opened(); len(got) != 0 {
		t.Errorf("%s: open without a call: %v", f, got)
	}

	// alice -> bob: ring bob.
	talks.Datagram(ctx, aliceSocket, daemon, talkRequest(t, f, talk.Announce, nil), l)
	told := parsedRequest(t, f, <-out.out)
	if told.Addr.Addr() != talkEgress || told.Control != egress || told.Caller != "alice" {
		t.Errorf("%s: announcement: %+v", f, told)
	}
	want := []Media{
		{"net/a/eth0", unix.IPPROTO_UDP, talkListener, netip.AddrPortFrom(talkEgress, f.Port()), netip.AddrPortFrom(daemon.Addr(), 0)},
		{"net/a/eth0", unix.IPPROTO_TCP, aliceProgram, told.Addr, netip.AddrPortFrom(daemon.Addr(), 0)},
	}
	for _, m := range want {
		if !slices.Contains(n.opened(), m) || len(n.opened()) != 2 {
			t.Errorf("%s: open: %v, want %v", f, n.opened(), want)
		}
	}
	// She repeats it: the same port, without another transaction.
	before := n.renewals
	talks.Datagram(ctx, aliceSocket, daemon, talkRequest(t, f, talk.Announce, nil), l)
	if again := parsedRequest(t, f, <-out.out); again.Addr != told.Addr || n.renewals != before {
		t.Errorf("%s: the second announcement: %+v, %d renewals", f, again, n.renewals-before)
	}

	// bob -> alice's host: has alice called?
	ask := talkRequest(t, f, talk.LookUp, func(r *talk.Request) {
		r.Caller, r.Callee, r.Addr, r.Control = "bob", "alice", bobSocket, bobSocket
	})
	talks.Datagram(ctx, bobSocket, netip.AddrPortFrom(talkEgress, f.Port()), ask, l)
	inside := n.to(netip.AddrPortFrom(aliceSocket.Addr(), f.Port()))
	if r := parsedRequest(t, f, <-inside.out); r.Control != inside.local || r.Caller != "bob" {
		t.Errorf("%s: lookup inside: %+v", f, r)
	}
	found, _ := talk.Response{Format: f, Type: talk.LookUp, Answer: talk.Success, Addr: aliceProgram}.AppendBinary(nil)
	inside.in <- found
	got := <-l.out
	if r, err := talk.ParseResponse(f, got.b); err != nil || got.to != bobSocket || r.Addr != told.Addr {
		t.Errorf("%s: bob got %+v from %s, %v", f, r, got.to, err)
	}

	// alice -> bob: the call is over.
	talks.Datagram(ctx, aliceSocket, daemon, talkRequest(t, f, talk.Delete, nil), l)
	if r := parsedRequest(t, f, <-out.out); r.Type != talk.Delete || r.Control != egress {
		t.Errorf("%s: delete: %+v", f, r)
	}
	if left := n.opened(); len(left) != 0 || len(n.reserved) != 0 {
		t.Errorf("%s: open after the call: %v, %v", f, left, n.reserved)
	}
	if c := counters.Snapshot()[HelperTalk]; c.Connections != 2 || c.Opened != 1 {
		t.Errorf("%s: counters: %+v", f, c)
	}
	cancel()
	<-out.ended
	<-inside.ended
}

// TestTalkTwoContainers: the names tell which container a called host asks for.
func TestTalkTwoContainers(t *testing.T) {
	n, l := newFakeTalkNode(t), newFakeListener()
	talks := NewTalk(TalkOptions{Node: n})
	second := netip.MustParseAddr("10.88.0.3")
	talks.Datagram(t.Context(), aliceSocket, bobDaemon, talkRequest(t, talk.NTalk, talk.Announce, nil), l)
	talks.Datagram(t.Context(), netip.AddrPortFrom(second, 9), bobDaemon, talkRequest(t, talk.NTalk, talk.Announce, func(r *talk.Request) {
		r.Caller, r.Addr = "carol", netip.AddrPortFrom(second, aliceProgram.Port())
	}), l)
	for caller, container := range map[string]netip.Addr{"alice": aliceSocket.Addr(), "carol": second} {
		ask := talkRequest(t, talk.NTalk, talk.LookUp, func(r *talk.Request) { r.Caller, r.Callee = "bob", caller })
		talks.Datagram(t.Context(), bobSocket, netip.AddrPortFrom(talkEgress, 518), ask, l)
		if r := parsedRequest(t, talk.NTalk, <-n.to(netip.AddrPortFrom(container, 518)).out); r.Callee != caller {
			t.Errorf("%s got %+v", container, r)
		}
	}
	// A container's daemon may not name the program of the other container.
	inside := n.to(netip.AddrPortFrom(second, 518))
	for _, a := range []netip.Addr{aliceSocket.Addr(), second} {
		found, _ := talk.Response{Format: talk.NTalk, Type: talk.LookUp, Answer: talk.Success, Addr: netip.AddrPortFrom(a, aliceProgram.Port())}.AppendBinary(nil)
		inside.in <- found
	}
	inside.in <- nil // the answers before it are handled
	if len(l.out) != 1 {
		t.Errorf("bob got %d answers", len(l.out))
	}
	// The calls are known at the address that bob's host was told.
	elsewhere := talkRequest(t, talk.NTalk, talk.LookUp, func(r *talk.Request) { r.Caller, r.Callee = "bob", "alice" })
	talks.Datagram(t.Context(), bobSocket, netip.MustParseAddrPort("192.0.2.54:518"), elsewhere, l)
	unknown := talkRequest(t, talk.NTalk, talk.LookUp, func(r *talk.Request) { r.Caller, r.Callee = "bob", "dave" })
	talks.Datagram(t.Context(), bobSocket, netip.AddrPortFrom(talkEgress, 518), unknown, l)
	for _, c := range []netip.Addr{aliceSocket.Addr(), second} {
		if left := len(n.to(netip.AddrPortFrom(c, 518)).out); left != 0 {
			t.Errorf("%s got %d more requests", c, left)
		}
	}
}

// TestTalkHostile sends what a container, a server and a container's daemon must not name.
func TestTalkHostile(t *testing.T) {
	refused := func(c *Counters, r Reason) uint64 { return c.Snapshot()[HelperTalk].Refused[r] }
	t.Run("announcements", func(t *testing.T) {
		n, l, counters := newFakeTalkNode(t), newFakeListener(), &Counters{}
		talks := NewTalk(TalkOptions{Node: n, Counters: counters})
		for i, a := range []string{"10.88.0.3:40002", "198.51.100.7:22", "192.0.2.53:22", "127.0.0.1:22", "0.0.0.0:0", "10.88.0.2:0"} {
			talks.Datagram(t.Context(), aliceSocket, bobDaemon, talkRequest(t, talk.NTalk, talk.Announce, func(r *talk.Request) { r.Addr = netip.MustParseAddrPort(a) }), l)
			if got := <-l.out; got.to != aliceSocket || got.b[2] != byte(talkFailed) {
				t.Errorf("%s: the client got %v", a, got)
			}
			if refused(counters, ForeignAddress) != uint64(i+1) {
				t.Errorf("%s: counters: %+v", a, counters.Snapshot()[HelperTalk])
			}
		}
		if len(n.opened()) != 0 || len(n.to(bobDaemon).out) != 0 {
			t.Errorf("open: %v; sent: %d", n.opened(), len(n.to(bobDaemon).out))
		}
	})
	t.Run("calls", func(t *testing.T) {
		n, l, counters := newFakeTalkNode(t), newFakeListener(), &Counters{}
		talks := NewTalk(TalkOptions{Node: n, Counters: counters})
		for i := range 1000 {
			talks.Datagram(t.Context(), aliceSocket, bobDaemon, talkRequest(t, talk.NTalk, talk.Announce, func(r *talk.Request) {
				r.Addr = netip.AddrPortFrom(aliceSocket.Addr(), uint16(1+i))
			}), l)
		}
		// One path, the announced port of each call, and the port of the daemon for all.
		const calls = 2*MaxAttachmentTalkCalls - 1
		if len(n.opened()) != calls+1 || refused(counters, LimitExceeded) != 1000-calls {
			t.Errorf("open: %d; counters: %+v", len(n.opened()), counters.Snapshot()[HelperTalk])
		}
		// Another container is not affected.
		b := netip.MustParseAddrPort("10.88.0.3:9")
		talks.Datagram(t.Context(), b, bobDaemon, talkRequest(t, talk.NTalk, talk.Announce, func(r *talk.Request) { r.Addr = b }), l)
		if !slices.ContainsFunc(n.opened(), func(m Media) bool { return m.Identity == "net/b/eth0" }) {
			t.Error("another container cannot call")
		}
	})
	t.Run("sockets", func(t *testing.T) {
		n, l, counters := newFakeTalkNode(t), newFakeListener(), &Counters{}
		talks := NewTalk(TalkOptions{Node: n, Counters: counters})
		for i := range 1000 {
			talks.Datagram(t.Context(), netip.AddrPortFrom(aliceSocket.Addr(), uint16(1+i)), bobDaemon, talkRequest(t, talk.NTalk, talk.LookUp, nil), l)
		}
		if n.connected != 2*MaxAttachmentTalkCalls || counters.Snapshot()[HelperTalk].Connections != n.connected {
			t.Errorf("%d sockets; counters: %+v", n.connected, counters.Snapshot()[HelperTalk])
		}
	})
	t.Run("noise", func(t *testing.T) {
		n, l, counters := newFakeTalkNode(t), newFakeListener(), &Counters{}
		talks := NewTalk(TalkOptions{Node: n, Counters: counters})
		for size := range 200 {
			b := []byte(strings.Repeat("\xff", size))
			talks.Datagram(t.Context(), aliceSocket, bobDaemon, b, l)
			if got := <-n.to(bobDaemon).out; string(got) != string(b) {
				t.Errorf("%d bytes became %q", size, got)
			}
			talks.Datagram(t.Context(), bobSocket, netip.AddrPortFrom(talkEgress, 518), b, l)
		}
		if c := counters.Snapshot()[HelperTalk]; c.Unreadable[Invalid] != 400 || len(n.opened()) != 0 {
			t.Errorf("counters: %+v; open: %v", c, n.opened())
		}
		if _, reached := n.conns[netip.AddrPortFrom(aliceSocket.Addr(), 518)]; reached {
			t.Error("a datagram from outside reached a container that has not called")
		}
	})
	t.Run("the container's daemon", func(t *testing.T) {
		n, l, counters := newFakeTalkNode(t), newFakeListener(), &Counters{}
		talks := NewTalk(TalkOptions{Node: n, Counters: counters})
		talks.Datagram(t.Context(), aliceSocket, bobDaemon, talkRequest(t, talk.NTalk, talk.Announce, nil), l)
		ask := talkRequest(t, talk.NTalk, talk.LookUp, func(r *talk.Request) { r.Caller, r.Callee = "bob", "alice" })
		talks.Datagram(t.Context(), bobSocket, netip.AddrPortFrom(talkEgress, 518), ask, l)
		inside := n.to(netip.AddrPortFrom(aliceSocket.Addr(), 518))
		for _, a := range []string{"10.88.0.2:22", "10.88.0.3:40002", "192.0.2.1:22"} {
			bad, _ := talk.Response{Format: talk.NTalk, Type: talk.LookUp, Answer: talk.Success, Addr: netip.MustParseAddrPort(a)}.AppendBinary(nil)
			inside.in <- bad
		}
		inside.in <- []byte(strings.Repeat("x", maxResponse+10))
		inside.in <- nil
		ok, _ := talk.Response{Format: talk.NTalk, Type: talk.Delete, Answer: talk.Success}.AppendBinary(nil)
		inside.in <- ok
		if got := <-l.out; string(got.b) != string(ok) {
			t.Errorf("bob got %x", got.b)
		}
		if refused(counters, ForeignAddress) != 3 {
			t.Errorf("counters: %+v", counters.Snapshot()[HelperTalk])
		}
	})
}

// TestTalkPortInUse: the node runs a talk daemon. The callee is rung.
func TestTalkPortInUse(t *testing.T) {
	n, l, counters := newFakeTalkNode(t), newFakeListener(), &Counters{}
	n.openErr = func(m Media) error {
		if m.Proto == unix.IPPROTO_UDP {
			return fmt.Errorf("%w: %v", ErrInUse, m)
		}
		return nil
	}
	talks := NewTalk(TalkOptions{Node: n, Counters: counters})
	talks.Datagram(t.Context(), aliceSocket, bobDaemon, talkRequest(t, talk.NTalk, talk.Announce, nil), l)
	if r := parsedRequest(t, talk.NTalk, <-n.to(bobDaemon).out); r.Addr.Addr() != talkEgress {
		t.Errorf("bob got %+v", r)
	}
	if c := counters.Snapshot()[HelperTalk]; c.Refused[InUse] != 1 || c.Opened != 1 {
		t.Errorf("counters: %+v", c)
	}
}

// TestTalkEndExcept ends calls and paths with their attachment.
func TestTalkEndExcept(t *testing.T) {
	n, l := newFakeTalkNode(t), newFakeListener()
	talks := NewTalk(TalkOptions{Node: n})
	talks.Datagram(t.Context(), aliceSocket, bobDaemon, talkRequest(t, talk.NTalk, talk.Announce, nil), l)
	talks.EndExcept(func(string) bool { return true })
	if len(n.opened()) != 2 {
		t.Errorf("open: %v", n.opened())
	}
	talks.EndExcept(func(identity string) bool { return identity != "net/a/eth0" })
	<-n.to(bobDaemon).ended
	if len(n.opened()) != 0 || len(n.reserved) != 0 {
		t.Errorf("open: %v, reserved: %v", n.opened(), n.reserved)
	}
}

// TestTalkEndWithAnswer: a message that comes while a path ends does not keep it.
func TestTalkEndWithAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, l := newFakeTalkNode(t), &fakeListener{make(chan sentDatagram)}
		talks := NewTalk(TalkOptions{Node: n})
		request := talkRequest(t, talk.NTalk, talk.LookUp, nil)
		talks.Datagram(t.Context(), aliceSocket, bobDaemon, request, l)
		before := n.to(bobDaemon)
		before.in <- []byte("answer")
		synctest.Wait() // the answer is being written
		talks.EndExcept(func(string) bool { return false })
		talks.Datagram(t.Context(), aliceSocket, bobDaemon, request, l)
		// Another attachment gets the address.
		n.mu.Lock()
		n.owners[aliceSocket.Addr()] = "net/c/eth0"
		n.mu.Unlock()
		talks.Datagram(t.Context(), aliceSocket, bobDaemon, request, l)
		after := n.to(bobDaemon)
		if after == before {
			t.Error("a path of a deleted attachment is used for the next one")
		}
		began := time.Now()
		<-l.out
		<-before.ended
		if d := time.Since(began); d != 0 {
			t.Errorf("the path ends after %s", d)
		}
		// The new path is not affected.
		synctest.Wait()
		after.in <- []byte("another")
		if got := <-l.out; string(got.b) != "another" {
			t.Errorf("alice got %q", got.b)
		}
		if len(talks.paths) != 1 || len(talks.usage) != 1 {
			t.Errorf("%d paths, used by %v", len(talks.paths), talks.usage)
		}
	})
}

// TestTalkTimeout: a call and a path last for TalkTimeout after a message. The call is renewed
// in the kernel with its announcements.
func TestTalkTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, l, counters := newFakeTalkNode(t), newFakeListener(), &Counters{}
		talks := NewTalk(TalkOptions{Node: n, Counters: counters})
		announce := func() {
			talks.Datagram(t.Context(), aliceSocket, bobDaemon, talkRequest(t, talk.NTalk, talk.Announce, nil), l)
		}
		announce()
		before := n.renewals
		for range 3 {
			time.Sleep(TalkTimeout - time.Second)
			announce()
		}
		if got := n.renewals - before; got != 3*2 || n.connected != 1 {
			t.Errorf("%d renewals, %d sockets", got, n.connected)
		}
		time.Sleep(TalkTimeout - time.Second)
		synctest.Wait()
		if got := n.opened(); len(got) != 2 {
			t.Errorf("open: %v", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(n.opened()) != 0 || len(n.reserved) != 0 || len(talks.usage) != 0 || counters.Snapshot()[HelperTalk].Connections != 0 {
			t.Errorf("open: %v, reserved: %v, used: %v", n.opened(), n.reserved, talks.usage)
		}
	})
}

// TestTalkHangUp: a Delete request ends one call. The port of the daemon stays open for others.
func TestTalkHangUp(t *testing.T) {
	n, l := newFakeTalkNode(t), newFakeListener()
	talks := NewTalk(TalkOptions{Node: n})
	first, second := aliceSocket.Addr(), netip.MustParseAddr("10.88.0.3")
	other := netip.MustParseAddrPort("198.51.100.8:518")
	send := func(typ talk.Type, container netip.Addr, port uint16, to netip.AddrPort, callee string) {
		talks.Datagram(t.Context(), netip.AddrPortFrom(container, 9), to, talkRequest(t, talk.NTalk, typ, func(r *talk.Request) {
			r.Addr, r.Callee = netip.AddrPortFrom(container, port), callee
		}), l)
	}
	// open checks which ports of programs are open, and which attachments bob's daemon can ask.
	open := func(want string) {
		t.Helper()
		var programs, daemons []string
		for _, m := range n.opened() {
			switch {
			case m.Proto == unix.IPPROTO_TCP:
				programs = append(programs, fmt.Sprint(m.Client.Port()))
			case m.Server.Addr() == bobDaemon.Addr():
				daemons = append(daemons, m.Identity)
			}
		}
		slices.Sort(programs)
		if got := fmt.Sprint(programs, daemons); got != want {
			t.Errorf("open: %s, want %s", got, want)
		}
	}
	send(talk.Announce, first, 1001, bobDaemon, "bob")
	send(talk.Announce, first, 1002, bobDaemon, "carol")
	send(talk.Announce, first, 1003, other, "bob")
	send(talk.Announce, second, 1004, bobDaemon, "bob")
	open("[1001 1002 1003 1004] [net/a/eth0 net/b/eth0]")
	send(talk.Delete, first, 1001, bobDaemon, "bob")
	open("[1002 1003 1004] [net/a/eth0 net/b/eth0]")
	// The kernel has one element for both attachments. It is made again for the other one.
	before := n.renewals
	talks.EndExcept(func(identity string) bool { return identity != "net/a/eth0" })
	open("[1004] [net/b/eth0]")
	if got := n.renewals - before; got != 1 {
		t.Errorf("%d renewals", got)
	}
	send(talk.Delete, second, 1004, bobDaemon, "bob")
	open("[] []")
}

// TestTalkManyContainers: the limits for all attachments.
func TestTalkManyContainers(t *testing.T) {
	n, l, counters := newFakeTalkNode(t), newFakeListener(), &Counters{}
	talks := NewTalk(TalkOptions{Node: n, Counters: counters})
	for i := range MaxTalkCalls + 1 {
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 88, 1 + byte(i>>8), byte(i)}), 1)
		n.owners[a.Addr()] = a.String()
		for port := range uint16(2) {
			talks.Datagram(t.Context(), a, bobDaemon, talkRequest(t, talk.NTalk, talk.Announce, func(r *talk.Request) {
				r.Addr = netip.AddrPortFrom(a.Addr(), 1+port)
			}), l)
		}
	}
	// The last container has no path. Of the calls of the others, half are refused.
	c := counters.Snapshot()[HelperTalk]
	if n.connected != MaxTalkCalls || len(talks.calls) != MaxTalkCalls || c.Refused[LimitExceeded] != 2+MaxTalkCalls {
		t.Errorf("%d sockets, %d calls, counters %+v", n.connected, len(talks.calls), c)
	}
}

// FuzzTalkDatagram: no datagram from either side panics, opens anything for another address,
// or leaves more open than the limits.
func FuzzTalkDatagram(f *testing.F) {
	for _, format := range []talk.Format{talk.NTalk, talk.Talk} {
		for typ := talk.LeaveInvite; typ <= talk.Announce; typ++ {
			f.Add(talkRequest(f, format, typ, nil), true)
			f.Add(talkRequest(f, format, typ, nil), false)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, outgoing bool) {
		n, l := newFakeTalkNode(t), newFakeListener()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		talks := NewTalk(TalkOptions{Node: n})
		talks.Datagram(ctx, aliceSocket, bobDaemon, talkRequest(t, talk.NTalk, talk.Announce, nil), l)
		if outgoing {
			talks.Datagram(ctx, aliceSocket, bobDaemon, b, l)
		} else {
			talks.Datagram(ctx, bobSocket, netip.AddrPortFrom(talkEgress, 518), b, l)
		}
		for _, m := range n.opened() {
			if m.Identity != "net/a/eth0" || m.Client.Addr() != aliceSocket.Addr() && m.Client != talkListener || m.Server.Addr() != bobDaemon.Addr() {
				t.Errorf("open: %+v", m)
			}
		}
		talks.EndExcept(func(string) bool { return false })
	})
}
