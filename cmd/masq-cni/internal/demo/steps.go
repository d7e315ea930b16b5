package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/nstest"
)

// steps are the steps of the demo, in their order.
var steps = []struct {
	name, title string
	run         func(context.Context, *lab, *Step) error
}{
	{"ping", "Masquerading", ping},
	{"freeze", "A download that stalls", freeze},
	{"clamp", "The same download with MSS clamping", clamp},
	{"ftp-refused", "Active FTP without the helper", ftpRefused},
	{"ftp", "Active FTP with the helper", ftp},
	{"rtsp", "A stream by RTSP", rtsp},
	{"talk", "A call by talk", talkCall},
	{"fragments", "Fragmented UDP", fragments},
	{"privileged", "A privileged source port", privileged},
	{"ruleset", "The rules", rules},
}

const (
	// failureTimeout is how long a step observes an action that must not succeed.
	failureTimeout = 2 * time.Second
	// successTimeout is how long an action may take that must succeed.
	successTimeout = 10 * time.Second
)

// ping sends an echo request without and with masquerading.
func ping(ctx context.Context, l *lab, s *Step) error {
	seen := func(masquerade bool) (from netip.Addr, answered bool, err error) {
		if err := l.attach(ctx, map[string]any{"ipMasq": masquerade}); err != nil {
			return from, false, err
		}
		c, err := l.Server.Capture("eth0", func(p nstest.Packet) bool {
			return !p.Outgoing && p.Proto == unix.IPPROTO_ICMP
		})
		if err != nil {
			return from, false, err
		}
		defer func() { err = errors.Join(err, c.Close()) }()
		wait := successTimeout
		if !masquerade {
			wait = failureTimeout / 2
		}
		pctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		r, pingErr := l.pod.Ping(pctx, l.V4.Server, nstest.PingOptions{})
		wctx, cancel := context.WithTimeout(ctx, successTimeout)
		defer cancel()
		p, err := c.WaitFor(wctx, func(nstest.Packet) bool { return true })
		if err != nil {
			return from, false, fmt.Errorf("the server received no echo request: %w", err)
		}
		return p.Src, pingErr == nil && r.Reply(), nil
	}
	from, answered, err := seen(false)
	if err != nil {
		return err
	}
	s.say("Without masquerading, the server at %s receives the ping from %s. It has no route to that address, so it cannot answer.", l.V4.Server, from)
	s.expect(from == l.addr && !answered, "without masquerading the server received it from %s, answered: %t", from, answered)
	s.figure("sourceWithout", from)
	from, answered, err = seen(true)
	if err != nil {
		return err
	}
	s.say("With masquerading, the same ping comes from %s, the address of the node, and is answered.", from)
	s.expect(from == l.V4.Node && answered, "with masquerading the server received it from %s, answered: %t", from, answered)
	s.figure("sourceWith", from)
	return nil
}
