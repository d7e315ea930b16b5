package session

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	pnaHello     = "PNA\x00\x0a\x00\x01\x00\x02\x1b\x58\x00\x07\x00\x02\x1b\x5a\x00\x00" // ports 7000, 7002
	pnaRewritten = "PNA\x00\x0a\x00\x01\x00\x02\x9c\x40\x00\x07\x00\x02\x9c\x41\x00\x00" // ports 40000, 40001
)

func TestPNA(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		w.send(w.client, pnaHello)
		synctest.Wait()
		l.openMedia("7000 40000 0", "7002 40001 0") // before the server knows
		w.expect(w.server, pnaRewritten)
		// All else is passed on, in whatever form.
		w.fromServer("PNA\x00\x0a"+setupAnswer(1, "s", accepted), "PNA\x00\x0a"+setupAnswer(1, "s", accepted))
		w.fromClient(pnaHello+setup(1, offer), pnaHello+setup(1, offer))
		if c := l.counters.Snapshot(); c[HelperPNA].Connections != 1 || c[HelperRTSP].Connections != 0 {
			t.Errorf("connections: %v", c)
		}
		time.Sleep(9*RenewInterval + time.Second)
		if n := l.node.renewals(); n != 3*2 {
			t.Errorf("renewed %d times", n)
		}
		w.end()
		l.counted(HelperPNA, "opened 2")
		l.counted(HelperRTSP, "")
	})
}

// TestPNAInParts: one byte at a time, with and without the end of the options.
func TestPNAInParts(t *testing.T) {
	for _, n := range []int{len(pnaHello), len(pnaHello) - 2} {
		inBubble(t, func(l *lab) {
			w := l.connect()
			go func() {
				for _, c := range []byte(pnaHello[:n]) {
					_, _ = w.client.Write([]byte{c})
					time.Sleep(time.Second)
				}
			}()
			w.expect(w.server, pnaRewritten[:n])
			l.openMedia("7000 40000 0", "7002 40001 0")
			time.Sleep(24 * time.Hour)
			w.fromServer("stream", "stream")
			_ = w.client.CloseWrite()
			w.expectEnd(w.server)
			w.end()
			l.counted(HelperPNA, "opened 2")
		})
	}
}

func TestPNARefused(t *testing.T) {
	tests := []struct{ name, text, want, counters string }{
		{"version", "PNA\x01\x00\x00\x01\x00\x02\x1b\x58", "", "unreadable invalid 1"},
		{"a long port", "PNA\x00\x0a\x00\x01\x00\x03abc", "", "unreadable invalid 1"},
		{"too long", "PNA\x00\x0a\x00\x02\xff\xff" + strings.Repeat("x", 9000), "", "unreadable invalid 1"},
		{"many ports", "PNA\x00\x0a" + strings.Repeat("\x00\x01\x00\x02\x1b\x58", 5), "PNA\x00\x0a\x00\x01\x00\x02\x9c\x40\x00\x01\x00\x02\x9c\x41\x00\x01\x00\x02\x9c\x42\x00\x01\x00\x02\x9c\x43\x00\x01\x00\x02\x1b\x58", "opened 4, unreadable invalid 1"},
		{"no port", "PNA\x00\x0a\x00\x01\x00\x02\x00\x00\x00\x00", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(l *lab) {
				if test.want == "" {
					test.want = test.text
				}
				w := l.connect()
				w.sendLater(w.client, test.text+"more")
				w.expect(w.server, test.want+"more")
				w.end()
				l.counted(HelperPNA, test.counters)
			})
		})
	}
	for reason, prepare := range map[Reason]func(*fakeNode){
		NoPorts: func(n *fakeNode) { n.last = 40000 },
		InUse: func(n *fakeNode) {
			n.openErr = func(m Media) error {
				if m.Client.Port() == 7002 {
					return ErrInUse
				}
				return nil
			}
		},
	} {
		t.Run(string(reason), func(t *testing.T) {
			inBubble(t, func(l *lab) {
				prepare(l.node)
				w := l.connect()
				// The other port is not changed.
				w.fromClient(pnaHello, strings.Replace(pnaRewritten, "\x9c\x41", "\x1b\x5a", 1))
				l.openMedia("7000 40000 0")
				w.end()
				l.counted(HelperPNA, fmt.Sprintf("opened 1, refused %s 1", reason))
			})
		})
	}
}

// TestPNASlow: an option that is not complete is passed on after HeaderTimeout.
func TestPNASlow(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		w.fromClient("PNA\x00\x0a", "PNA\x00\x0a")
		w.send(w.client, "\x00\x01\x00")
		began := time.Now()
		w.expect(w.server, "\x00\x01\x00")
		if d := time.Since(began); d != HeaderTimeout {
			t.Errorf("after %s", d)
		}
		w.fromClient("\x02\x1b\x58", "\x02\x1b\x58")
		w.end()
		l.openMedia()
		l.counted(HelperPNA, "unreadable slow-header 1")
	})
}

// TestPlayIsNotPNA: a method of RTSP that begins with P, one byte at a time.
func TestPlayIsNotPNA(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		text := request("PLAY", 1, "s")
		go func() {
			for _, c := range []byte(text) {
				_, _ = w.client.Write([]byte{c})
			}
		}()
		w.expect(w.server, text)
		w.fromClient(setup(2, offer), setup(2, offered))
		w.end()
		l.counted(HelperRTSP, "")
	})
}
