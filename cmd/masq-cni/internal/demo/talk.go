package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/alg/talk"
)

// talkCall calls a user at the server, without and with the helper of masqd.
func talkCall(ctx context.Context, l *lab, s *Step) (err error) {
	if err := l.attach(ctx, nil); err != nil {
		return err
	}
	without, err := l.call(ctx)
	if err != nil {
		return err
	}
	s.say("alice calls bob: her talk program sends his talk daemon the address at which it accepts the answer, %s. bob's program cannot connect to it: %s.", without.named, without.failure)
	s.figure("namedWithout", without.named)
	s.expect(without.named.Addr() == l.addr && without.failure != "", "without the helper the call names %s, bob reads %q", without.named, without.line)
	d, err := l.startDaemon(ctx)
	if err != nil {
		return err
	}
	defer func() { err = d.end(err) }()
	if err := l.attachHelped(ctx, "talk", unix.IPPROTO_UDP, talk.NTalk.Port()); err != nil {
		return err
	}
	with, err := l.call(ctx)
	if err != nil {
		return err
	}
	s.say("With \"helpers\": {\"talk\": [518]}, masqd names the node, %s, and opens that port to bob's host. bob connects, and reads %q.", with.named, with.line)
	s.figure("named", with.named)
	s.figure("line", with.line)
	s.expect(with.named.Addr() == l.V4.Node && with.line == hello, "with the helper the call names %s, bob reads %q, %s", with.named, with.line, with.failure)
	return nil
}

// hello is what alice types.
const hello = "hello bob"

// called is the address that a call names, and what came of the answer.
type called struct {
	named   netip.AddrPort
	line    string // what bob read
	failure string // why bob could not connect
}

// call has alice in the container call bob at the server.
func (l *lab) call(ctx context.Context) (x called, err error) {
	ctx, cancel := context.WithTimeout(ctx, successTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	daemon, err := l.Server.ListenUDP(netip.AddrPortFrom(l.V4.Server, talk.NTalk.Port()))
	if err != nil {
		return x, err
	}
	defer func() { _ = daemon.Close() }()
	alice, err := l.pod.Listen(netip.AddrPortFrom(l.addr, 0))
	if err != nil {
		return x, err
	}
	defer func() { _ = alice.Close() }()
	c, err := l.pod.Dial(ctx, "udp", netip.AddrPort{}, netip.AddrPortFrom(l.V4.Server, talk.NTalk.Port()))
	if err != nil {
		return x, err
	}
	defer func() { _ = c.Close() }()
	if err := errors.Join(daemon.SetDeadline(deadline), alice.SetDeadline(deadline)); err != nil {
		return x, err
	}
	announce := talk.Request{
		Format: talk.NTalk, Type: talk.Announce, Caller: "alice", Callee: "bob",
		Addr:    alice.Addr().(*net.TCPAddr).AddrPort(),
		Control: c.LocalAddr().(*net.UDPAddr).AddrPort(),
	}
	b, err := announce.AppendBinary(nil)
	if err != nil {
		return x, err
	}
	if _, err := c.Write(b); err != nil {
		return x, err
	}
	buf := make([]byte, 256)
	n, err := daemon.Read(buf)
	if err != nil {
		return x, fmt.Errorf("bob's daemon received no call: %w", err)
	}
	received, err := talk.ParseRequest(talk.NTalk, buf[:n])
	if err != nil {
		return x, err
	}
	x.named = received.Addr
	bob, err := l.Server.Dial(ctx, "tcp", netip.AddrPort{}, x.named)
	if err != nil {
		var no unix.Errno
		if !errors.As(err, &no) {
			return x, err
		}
		x.failure = no.Error()
		return x, nil
	}
	defer func() { _ = bob.Close() }()
	at, err := alice.Accept()
	if err != nil {
		return x, err
	}
	defer func() { _ = at.Close() }()
	if err := errors.Join(bob.SetDeadline(deadline), at.SetDeadline(deadline)); err != nil {
		return x, err
	}
	if _, err := fmt.Fprintln(at, hello); err != nil {
		return x, err
	}
	x.line, err = bufio.NewReader(bob).ReadString('\n')
	x.line = strings.TrimSpace(x.line)
	return x, err
}
