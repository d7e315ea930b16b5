package e2e

import (
	"context"
	"encoding/binary"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestTalk has alice in a container and bob at the server talk to each other with Debian's
// talk and talkd. The caller's message contains the address for the answer: without the helper
// it is the container's own, which bob cannot reach.
func TestTalk(t *testing.T) {
	talkd := program(t, "/usr/sbin/in.ntalkd", "talkd")
	helper := keys{"helpers": keys{"talk": []uint16{talkPort}}}
	for _, c := range []struct {
		name      string
		conf      keys
		published bool   // a port of the node leads to alice's daemon
		byAlice   bool   // alice calls
		shown     string // text that bob sees at the end
	}{
		{"called by the container, no helper", nil, true, true, "Unable to connect with initiator: Network is unreachable"},
		{"called by the container", helper, false, true, connected},
		{"called by the container, published", helper, true, true, connected},
		{"called from outside, no helper", nil, true, false, connected},
		{"called from outside", helper, true, false, connected},
		{"called by the container, the server direct", keys{"nonMasqueradeCIDRs": []string{"198.51.100.0/24"}}, false, true, connected},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			direct := c.conf["nonMasqueradeCIDRs"] != nil
			if direct {
				w.knowPods()
			}
			conf, args := w.masq().With(c.conf), map[string]any{}
			if c.conf["helpers"] != nil {
				w.daemon()
			}
			if c.published {
				args["portMappings"] = []keys{{"hostPort": talkPort, "containerPort": talkPort, "protocol": "udp"}}
			}
			p := w.attachWith("a", w.conflist("1.1.0", conf, portmap()), args)
			if c.conf["helpers"] != nil {
				w.redirects(p, "udp", talkPort)
			}
			alice, bob := w.talker(p.NS, "alice", talkd), w.talker(w.Server, "bob", talkd)
			own, seenAs := p.addr(w.V4.Server), w.V4.Node
			if direct {
				seenAs = own
			}

			const ring = "talk: connection requested by "
			if c.byAlice {
				announced := assert.Must(w.Server.Capture("eth0", talkAnnouncement))(t)
				alice.talk("bob@" + w.V4.Server.String())
				bob.reads(ring + "alice@" + seenAs.String())
				q := assert.Must(announced.WaitFor(soon(t), talkAnnouncement))(t)
				named := own
				if c.conf["helpers"] != nil {
					named = w.V4.Node
				}
				if at := talkAddress(q.Payload); q.Src != seenAs || at.Addr() != named {
					t.Errorf("the call comes from %s and names %s, want %s and %s", q.Src, at, seenAs, named)
				}
				bob.talk("alice@" + seenAs.String())
			} else {
				bob.talk("alice@" + seenAs.String())
				alice.reads(ring + "bob@" + w.V4.Server.String())
				alice.talk("bob@" + w.V4.Server.String())
			}
			bob.reads(c.shown)
			if c.shown != connected {
				return
			}
			alice.types("hello from the container")
			bob.reads("hello from the container")
			bob.types("hello from outside")
			alice.reads("hello from outside")
		})
	}
}

// connected is what talk shows when the other side has answered.
const connected = "[Connection established]"

// talkPort is the port of the talk daemon.
const talkPort = 518

// talkAnnouncement reports whether q is the message that makes a daemon announce a call
// (<protocols/talkd.h>).
func talkAnnouncement(q nstest.Packet) bool {
	return q.DstPort == talkPort && len(q.Payload) >= 84 && q.Payload[1] == 3
}

// talkAddress returns the address in a talk message at which its sender is called.
func talkAddress(message []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(message[12:16])
	return at(a, binary.BigEndian.Uint16(message[10:]))
}

// talker is a user at a terminal that accepts calls.
type talker struct {
	*machine
	*terminal
	w *world
}

func (w *world) talker(n *nstest.NS, name, talkd string) talker {
	w.t.Helper()
	x := newTerminal(w.t)
	assert.NoError(w.t, x.line.Chmod(0o620)) // as mesg y does
	m := w.machine(n, map[string]string{
		"etc/passwd": name + ":x:0:0::/root:/bin/sh\n", "etc/hosts": "127.0.0.1 localhost\n",
		"etc/nsswitch.conf": "passwd: files\nhosts: files\n", "etc/hosts.allow": "", "etc/hosts.deny": "",
		"run/utmp": utmp(name, strings.TrimPrefix(x.line.Name(), "/dev/")),
	})
	m.inetdUDP(talkPort, talkd)
	return talker{m, x, w}
}

// talk calls another user, or answers a call.
func (x talker) talk(to string) {
	x.w.t.Helper()
	c := x.command(context.Background(), "netkit-ntalk", to)
	assert.NoError(x.w.t, x.start(c))
	x.w.t.Cleanup(func() { _ = c.Cancel(); _ = c.Wait() })
}

// reads waits until the terminal shows a text.
func (x talker) reads(text string) {
	x.w.t.Helper()
	if !x.shows(soon(x.w.t).Done(), text) {
		x.w.t.Fatalf("%s does not show %q", x.line.Name(), text)
	}
}

// utmp returns the file that records a logged-in user (utmp(5)).
func utmp(user, line string) string {
	b := make([]byte, 384)
	binary.NativeEndian.PutUint16(b, 7) // USER_PROCESS
	binary.NativeEndian.PutUint32(b[4:], uint32(os.Getpid()))
	copy(b[8:40], line)
	copy(b[44:76], user)
	return string(b)
}
