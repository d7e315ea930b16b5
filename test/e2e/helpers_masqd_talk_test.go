package e2e

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/alg/talk"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// udpSocket opens a UDP socket whose reads end with the test's patience.
func udpSocket(t testing.TB, n *nstest.NS, a netip.AddrPort) *net.UDPConn {
	t.Helper()
	c := assert.Must(n.ListenUDP(a))(t)
	t.Cleanup(func() { _ = c.Close() })
	assert.NoError(t, c.SetReadDeadline(deadlineOf(t)))
	return c
}

// receiveFrom reads one datagram.
func receiveFrom(t testing.TB, c *net.UDPConn) ([]byte, netip.AddrPort) {
	t.Helper()
	b := make([]byte, 200)
	n, from, err := c.ReadFromUDPAddrPort(b)
	assert.NoError(t, err)
	return b[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// TestTalkByMasqd calls a user of another host from a container, in both protocols, with the
// messages of netkit's talk. The host's daemon reaches the caller's daemon, and the callee's
// program the caller's program.
func TestTalkByMasqd(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.daemon()
	p := w.attach("a", w.conflist("1.1.0", w.helped()))
	w.redirected(p)
	node, server, own := w.V4.Node, w.V4.Server, p.addr(w.V4.Node)
	for _, f := range []talk.Format{talk.NTalk, talk.Talk} {
		t.Run(f.String(), func(t *testing.T) {
			program := assert.Must(p.Listen(at(own, 0)))(t)
			defer program.Close()
			y := program.Addr().(*net.TCPAddr).AddrPort().Port()
			client, inside := udpSocket(t, p.NS, at(own, 0)), udpSocket(t, p.NS, at(own, f.Port()))
			remote := udpSocket(t, w.Server, at(server, f.Port()))
			asker := udpSocket(t, w.Server, at(server, 0))
			request := func(typ talk.Type, caller, callee string, addr netip.AddrPort, from *net.UDPConn, to netip.AddrPort) {
				t.Helper()
				control := from.LocalAddr().(*net.UDPAddr).AddrPort()
				b := assert.Must(talk.Request{
					Format: f, Type: typ, Caller: caller, Callee: callee, Addr: addr,
					Control: netip.AddrPortFrom(control.Addr().Unmap(), control.Port()),
				}.AppendBinary(nil))(t)
				assert.Must(from.WriteToUDPAddrPort(b, to))(t)
			}
			answer := func(typ talk.Type, addr netip.AddrPort, result talk.Answer, from *net.UDPConn, to netip.AddrPort) {
				t.Helper()
				b := assert.Must(talk.Response{Format: f, Type: typ, Answer: result, Addr: addr}.AppendBinary(nil))(t)
				assert.Must(from.WriteToUDPAddrPort(b, to))(t)
			}
			daemon := at(server, f.Port())

			// Without a call, the host does not reach the container's daemon.
			lost := assert.Must(w.Server.DialUDP(at(server, 0), at(node, f.Port())))(t)
			defer lost.Close()
			assert.Must(lost.Write([]byte("before")))(t)
			if _, err := lost.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("a datagram before the call: %v", err)
			}

			request(talk.LookUp, "alice", "bob", at(own, y), client, daemon)
			b, source := receiveFrom(t, remote)
			if r := assert.Must(talk.ParseRequest(f, b))(t); r.Control != source || source.Addr() != node {
				t.Errorf("the daemon got %+v from %s", r, source)
			}
			answer(talk.LookUp, netip.AddrPort{}, talk.NotHere, remote, source)
			if b, from := receiveFrom(t, client); from != daemon || assert.Must(talk.ParseResponse(f, b))(t).Answer != talk.NotHere {
				t.Errorf("the client got %x from %s", b, from)
			}

			request(talk.Announce, "alice", "bob", at(own, y), client, daemon)
			b, _ = receiveFrom(t, remote)
			told := assert.Must(talk.ParseRequest(f, b))(t).Addr
			if told.Addr() != node {
				t.Fatalf("the daemon got the address %s", told)
			}

			request(talk.LookUp, "bob", "alice", at(server, 1), asker, at(node, f.Port()))
			b, source = receiveFrom(t, inside)
			if r := assert.Must(talk.ParseRequest(f, b))(t); r.Caller != "bob" || r.Control != source {
				t.Errorf("the container's daemon got %+v from %s", r, source)
			}
			answer(talk.LookUp, at(own, y), talk.Success, inside, source)
			b, from := receiveFrom(t, asker)
			if r := assert.Must(talk.ParseResponse(f, b))(t); r.Addr != told || from != at(node, f.Port()) {
				t.Errorf("the callee got %+v from %s", r, from)
			}

			// The program at the host connects; another host cannot.
			if c, err := w.Router.Dial(soon(t), "tcp", netip.AddrPort{}, told); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("another host connects: %v, %v", c, err)
			}
			c := assert.Must(w.Server.Dial(soon(t), "tcp", at(server, 0), told))(t)
			defer c.Close()
			conversation := assert.Must(program.Accept())(t)
			defer conversation.Close()
			send(t, c, "hello")
			line := make([]byte, 5)
			if _, err := io.ReadFull(conversation, line); err != nil || string(line) != "hello" {
				t.Errorf("the caller read %q, %v", line, err)
			}
			request(talk.Delete, "alice", "bob", at(own, y), client, daemon)
			receiveFrom(t, remote)
			until(t, "the port is closed", func() bool {
				c, err := w.Server.Dial(soon(t), "tcp", at(server, 0), told)
				if err == nil {
					_ = c.Close()
				}
				return errors.Is(err, unix.ECONNREFUSED)
			})
		})
	}
}

// TestTalkByMasqdEnds ends masqd during a call. A program sends all messages from one socket:
// they reach the daemon unread after masqd has ended, and by masqd after a restart.
func TestTalkByMasqdEnds(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	d := w.daemon()
	p := w.attach("a", w.conflist("1.1.0", w.helped()))
	w.redirected(p)
	own, server := p.addr(w.V4.Node), w.V4.Server
	client := udpSocket(t, p.NS, at(own, 0))
	control := client.LocalAddr().(*net.UDPAddr).AddrPort()
	control = netip.AddrPortFrom(control.Addr().Unmap(), control.Port())
	remote := udpSocket(t, w.Server, at(server, 518))
	// lookUp returns the control address that arrives.
	lookUp := func() netip.AddrPort {
		t.Helper()
		b := assert.Must(talk.Request{Type: talk.LookUp, Caller: "alice", Callee: "bob", Control: control}.AppendBinary(nil))(t)
		assert.Must(client.WriteToUDPAddrPort(b, at(server, 518)))(t)
		b, _ = receiveFrom(t, remote)
		return assert.Must(talk.ParseRequest(talk.NTalk, b))(t).Control
	}
	if got := lookUp(); got.Addr() != w.V4.Node {
		t.Errorf("the control address is %s", got)
	}
	d.end()
	if got := lookUp(); got != control {
		t.Errorf("after the end of masqd, the control address is %s", got)
	}
	d = w.daemon()
	w.redirected(p)
	// The flow that began while masqd was stopped is not redirected; that of another socket is.
	client = udpSocket(t, p.NS, at(own, 0))
	if got := lookUp(); got.Addr() != w.V4.Node {
		t.Errorf("after the restart, the control address is %s", got)
	}
	assert.NoError(t, d.Process.Kill())
	_ = d.Wait()
	w.daemon()
	w.redirected(p)
	until(t, "the flow to the killed masqd is deleted", func() bool {
		return !strings.Contains(w.nodeRun("conntrack", "-L", "-p", "udp", "--orig-src", own.String(), "--dst-nat"), "dport=518")
	})
	if got := lookUp(); got.Addr() != w.V4.Node {
		t.Errorf("after the second restart, the control address is %s", got)
	}
}
