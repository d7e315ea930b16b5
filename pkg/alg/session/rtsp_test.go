package session

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSetup(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		w.fromClient(request("OPTIONS", 1, "x"), request("OPTIONS", 1, "x"))
		w.fromServer(okAnswer(1), okAnswer(1))
		w.fromClient(setup(2, offer), setup(2, offered))
		l.openMedia()
		w.send(w.server, setupAnswer(2, "s1", accepted))
		synctest.Wait()
		l.openMedia("5000 40000 6256", "5001 40001 6257") // before the answer is read
		w.expect(w.client, setupAnswer(2, "s1", translated))
		l.counted(HelperRTSP, "opened 2")
		if n := l.counters.Snapshot()[HelperRTSP].Connections; n != 1 {
			t.Errorf("%d connections", n)
		}
		m := l.node.isOpen()[0]
		if m.Identity != "net/a/eth0" || m.Client.Addr() != clientAddr.Addr() || m.Egress.Addr() != l.node.egress || m.Server.Addr() != serverAddr.Addr() {
			t.Errorf("opened %+v", m)
		}

		w.fromClient(request("TEARDOWN", 3, "s1"), request("TEARDOWN", 3, "s1"))
		l.openMedia("5000 40000 6256", "5001 40001 6257")
		w.fromServer(okAnswer(3), okAnswer(3))
		l.openMedia()
		if n := l.node.ports(); n != 0 {
			t.Errorf("%d ports are reserved after TEARDOWN", n)
		}
		w.end()
		if n := l.counters.Snapshot()[HelperRTSP].Connections; n != 0 {
			t.Errorf("%d connections", n)
		}
	})
}

// TestSessions: several sessions on one connection, each with two streams.
func TestSessions(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		open := map[string][]string{}
		for i, id := range []string{"s1", "s1", "s2", "s2"} {
			cp, mp, sp := 5000+2*i, 40000+2*i, 6000+2*i
			in := fmt.Sprintf("RTP/AVP;unicast;client_port=%d-%d", cp, cp+1)
			out := fmt.Sprintf("RTP/AVP;unicast;client_port=%d-%d", mp, mp+1)
			end := fmt.Sprintf(";server_port=%d-%d", sp, sp+1)
			w.fromClient(setup(i, in), setup(i, out))
			w.fromServer(setupAnswer(i, id, out+end), setupAnswer(i, id, in+end))
			open[id] = append(open[id], fmt.Sprint(cp, mp, sp), fmt.Sprint(cp+1, mp+1, sp+1))
		}
		l.openMedia(append(open["s1"], open["s2"]...)...)
		w.fromClient(request("TEARDOWN", 10, "s1"), request("TEARDOWN", 10, "s1"))
		w.fromServer(crlf("RTSP/1.0 454 Session Not Found\nCSeq: 10\n\n"), crlf("RTSP/1.0 454 Session Not Found\nCSeq: 10\n\n"))
		l.openMedia(append(open["s1"], open["s2"]...)...)
		w.fromClient(request("TEARDOWN", 11, "s1"), request("TEARDOWN", 11, "s1"))
		w.fromServer(okAnswer(11), okAnswer(11))
		l.openMedia(open["s2"]...)
		// One stream of a session: its URI is that of SETUP 2.
		one := crlf("TEARDOWN rtsp://198.51.100.241/a/2 RTSP/1.0\nCSeq: 12\nSession: s2\n\n")
		w.fromClient(one, one)
		w.fromServer(okAnswer(12), okAnswer(12))
		l.openMedia(open["s2"][2:]...)
		w.end()
	})
}

// TestSetupAgain: another SETUP of a stream replaces its ports.
func TestSetupAgain(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		w.fromClient(setup(1, offer), setup(1, offered))
		w.fromServer(setupAnswer(1, "s", accepted), setupAnswer(1, "s", translated))
		again := func(transport string) string {
			return crlf("SETUP rtsp://198.51.100.241/a/1 RTSP/1.0\nCSeq: 2\nSession: s\nTransport: " + transport + "\n\n")
		}
		w.fromClient(again(offer), again("RTP/AVP;unicast;client_port=40002-40003"))
		w.fromServer(setupAnswer(2, "s", "RTP/AVP;unicast;client_port=40002-40003;server_port=7000-7001"),
			setupAnswer(2, "s", "RTP/AVP;unicast;client_port=5000-5001;server_port=7000-7001"))
		l.openMedia("5000 40002 7000", "5001 40003 7001")
		w.end()
	})
}

func TestOffers(t *testing.T) {
	tests := []struct{ name, offer, sent, answer, got, open string }{
		{"one port", "RTP/AVP;client_port=5000", "RTP/AVP;client_port=40000", "RTP/AVP;client_port=40000;server_port=6256", "RTP/AVP;client_port=5000;server_port=6256", "5000 40000 6256"},
		{"no server port", offer, offered, offered, offer, "5000 40000 0,5001 40001 0"},
		{"one server port", offer, offered, offered + ";server_port=6256", offer + ";server_port=6256", "5000 40000 6256,5001 40001 0"},
		{"two offers", offer + ",RTP/AVP;client_port=5004-5005", offered + ", RTP/AVP;client_port=40002-40003", "RTP/AVP;client_port=40002-40003;server_port=6256-6257", "RTP/AVP;client_port=5004-5005;server_port=6256-6257", "5004 40002 6256,5005 40003 6257"},
		{"within the connection", "RTP/AVP/TCP;interleaved=0-1", "RTP/AVP/TCP;interleaved=0-1", "RTP/AVP/TCP;interleaved=0-1", "RTP/AVP/TCP;interleaved=0-1", ""},
		{"the server chooses the connection", offer + ",RTP/AVP/TCP;interleaved=0-1", offered + ", RTP/AVP/TCP;interleaved=0-1", "RTP/AVP/TCP;interleaved=0-1", "RTP/AVP/TCP;interleaved=0-1", ""},
		{"the server chooses multicast", offer, offered, "RTP/AVP;multicast;destination=224.2.0.1;port=3456-3457", "RTP/AVP;multicast;destination=224.2.0.1;port=3456-3457", ""},
		{"the client's and the server's address", offer + ";destination=10.88.0.2", offered + ";destination=192.0.2.53", accepted + ";destination=192.0.2.53;source=198.51.100.241", translated + ";destination=10.88.0.2;source=198.51.100.241", "5000 40000 6256,5001 40001 6257"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(l *lab) {
				w := l.connect()
				w.fromClient(setup(1, test.offer), setup(1, test.sent))
				w.fromServer(setupAnswer(1, "s", test.answer), setupAnswer(1, "s", test.got))
				var open []string
				if test.open != "" {
					open = strings.Split(test.open, ",")
				}
				l.openMedia(open...)
				if n := l.node.ports(); n != len(open) {
					t.Errorf("%d ports are reserved", n)
				}
				w.end()
			})
		})
	}
}

// TestUnansweredSetup: a server that answers with an error, without Transport, and not at all.
func TestUnansweredSetup(t *testing.T) {
	for _, answer := range []string{"401 Unauthorized", "454 Session Not Found", "461 Unsupported Transport", "302 Moved", "200 OK"} {
		inBubble(t, func(l *lab) {
			w := l.connect()
			w.fromClient(setup(1, offer), setup(1, offered))
			goOn := crlf("RTSP/1.0 100 Continue\nCSeq: 1\n\n")
			w.fromServer(goOn, goOn)
			if n := l.node.ports(); n != 2 {
				t.Errorf("%d ports are reserved", n)
			}
			text := crlf("RTSP/1.0 " + answer + "\nCSeq: 1\n\n")
			w.fromServer(text, text)
			if n := l.node.ports(); n != 0 {
				t.Errorf("%s: %d ports are reserved", answer, n)
			}
			w.fromClient(setup(2, offer), setup(2, offered))
			w.end()
			l.openMedia()
			l.counted(HelperRTSP, "")
		})
	}
}

// TestPipelining: several messages in one packet, and one message in many.
func TestPipelining(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		w.sendLater(w.client, setup(1, offer)+setup(2, "RTP/AVP;client_port=6000-6001")+request("PLAY", 3, "s"))
		w.expect(w.server, setup(1, offered)+setup(2, "RTP/AVP;client_port=40002-40003")+request("PLAY", 3, "s"))
		// The answers come in another order.
		go func() {
			for _, b := range []byte(setupAnswer(2, "s", "RTP/AVP;client_port=40002-40003;server_port=7000-7001") + setupAnswer(1, "s", accepted) + okAnswer(3)) {
				_, _ = w.server.Write([]byte{b})
			}
		}()
		w.expect(w.client, setupAnswer(2, "s", "RTP/AVP;client_port=6000-6001;server_port=7000-7001")+setupAnswer(1, "s", translated)+okAnswer(3))
		l.openMedia("5000 40000 6256", "5001 40001 6257", "6000 40002 7000", "6001 40003 7001")
		w.end()
	})
}

// TestRequestsOfServer: requests in the other direction have their own numbers.
func TestRequestsOfServer(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		w.fromClient(setup(7, offer), setup(7, offered))
		w.fromServer(request("ANNOUNCE", 7, "s"), request("ANNOUNCE", 7, "s"))
		// The client's answer to it is not one to the SETUP request.
		w.fromClient(okAnswer(7), okAnswer(7))
		// A SETUP request of the server is not for us.
		w.fromServer(setup(7, offered), setup(7, offered))
		w.fromServer(setupAnswer(7, "s", accepted), setupAnswer(7, "s", translated))
		l.openMedia("5000 40000 6256", "5001 40001 6257")
		w.end()
		l.counted(HelperRTSP, "opened 2")
	})
}

// TestData: bodies and interleaved frames are not touched, and can contain anything.
func TestData(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		body := setup(9, offer)
		announce := crlf(fmt.Sprintf("ANNOUNCE rtsp://198.51.100.241/a RTSP/1.0\nCSeq: 1\nContent-Length: %d\n\n", len(body))) + body
		frame := func(s string) string { return "$\x00" + string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }
		long := frame(strings.Repeat(setupAnswer(1, "s", accepted), 300))
		w.sendLater(w.client, announce+frame(setup(2, offer))+frame("")+okAnswer(3))
		w.expect(w.server, announce+frame(setup(2, offer))+frame("")+okAnswer(3))
		w.fromClient(setup(1, offer), setup(1, offered))
		w.sendLater(w.server, frame("RTP")+long+frame("x")+setupAnswer(1, "s", accepted)+long)
		w.expect(w.client, frame("RTP")+long+frame("x")+setupAnswer(1, "s", translated)+long)
		w.end()
		l.counted(HelperRTSP, "opened 2")
	})
}

// TestRefusalWithinData: a refusal waits for the end of a frame.
func TestRefusalWithinData(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		w.fromServer("$\x00\x00\x08half", "$\x00\x00\x08half")
		w.send(w.client, setup(1, "RTP/AVP;client_port=0"))
		w.expectNothing(w.client)
		w.fromServer(" end", " end")
		w.expect(w.client, refusal(1))
		// The next message of the client is passed on.
		w.fromClient(request("PLAY", 2, "s"), request("PLAY", 2, "s"))
		w.end()
	})
}

// TestRefusalAtEnd: a refusal waits for the end of a frame that never comes.
func TestRefusalAtEnd(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		w.fromServer("$\x00\x00\x08half", "$\x00\x00\x08half")
		w.send(w.client, setup(1, "RTP/AVP;client_port=0"))
		synctest.Wait()
		_ = w.server.CloseWrite()
		w.expectEnd(w.client)
		w.end()
	})
}

// TestRenew: media are renewed while the connection lives, also in silence, and not after.
func TestRenew(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		w.fromClient(setup(1, offer), setup(1, offered))
		w.fromServer(setupAnswer(1, "s", accepted), setupAnswer(1, "s", translated))
		// A stream whose server has no known port is renewed less often.
		w.fromClient(setup(2, "RTP/AVP;client_port=6000"), setup(2, "RTP/AVP;client_port=40002"))
		w.fromServer(setupAnswer(2, "s", "RTP/AVP;client_port=40002"), setupAnswer(2, "s", "RTP/AVP;client_port=6000"))
		time.Sleep(9*RenewInterval + time.Second)
		if n := l.node.renewals(); n != 9*2+3 {
			t.Errorf("renewed %d times", n)
		}
		began := time.Now()
		w.end()
		if n := l.node.renewals(); n != 9*2+3 {
			t.Errorf("renewed %d times", n)
		}
		// The media outlive the connection, and their ports stay reserved.
		l.openMedia("5000 40000 6256", "5001 40001 6257", "6000 40002 0")
		if d := time.Since(began); d != MediaTimeout {
			t.Errorf("the ports are released after %s", d)
		}
	})
}

// TestStop: the context ends while a session lives, and while one is over but its media are
// open. Only the deletion of the attachment resets the connections.
func TestStop(t *testing.T) {
	for _, test := range []struct {
		closed bool
		cause  error
	}{{false, nil}, {false, ErrDeleted}, {true, nil}, {true, ErrDeleted}} {
		inBubble(t, func(l *lab) {
			w := l.connect()
			w.fromClient(setup(1, offer), setup(1, offered))
			w.fromServer(setupAnswer(1, "s", accepted), setupAnswer(1, "s", translated))
			w.fromClient(setup(2, offer), setup(2, "RTP/AVP;unicast;client_port=40002-40003"))
			if test.closed {
				_ = w.client.Close()
				_ = w.server.Close()
				synctest.Wait()
			}
			w.cancel(test.cause)
			<-w.done
			for _, c := range w.inside {
				if reset := c.wasReset.Load(); reset != (!test.closed && test.cause != nil) || !c.closed.Load() {
					t.Errorf("%+v: reset %t, closed %t", test, reset, c.closed.Load())
				}
			}
			l.openMedia("5000 40000 6256", "5001 40001 6257") // without a control connection
			w.end()
		})
	}
}

// TestTeardownWithoutAnswer: players close the connection without waiting for the answer.
func TestTeardownWithoutAnswer(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		for i, id := range []string{"s1", "s2"} {
			ports := fmt.Sprintf("RTP/AVP;client_port=%d", 40000+i)
			w.fromClient(setup(i, "RTP/AVP;client_port=5000"), setup(i, ports))
			w.fromServer(setupAnswer(i, id, ports), setupAnswer(i, id, "RTP/AVP;client_port=5000"))
		}
		w.fromClient(request("TEARDOWN", 3, "s1"), request("TEARDOWN", 3, "s1"))
		w.end()
		l.openMedia("5000 40001 0")
	})
}

// TestTeardownBeforeAnswer: TEARDOWN follows SETUP in the same packet.
func TestTeardownBeforeAnswer(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		setup1 := crlf("SETUP rtsp://198.51.100.241/a RTSP/1.0\nCSeq: 1\nSession: s\nTransport: %s\n\n")
		w.fromClient(fmt.Sprintf(setup1, offer)+request("TEARDOWN", 2, "s"), fmt.Sprintf(setup1, offered)+request("TEARDOWN", 2, "s"))
		w.fromServer(setupAnswer(1, "s", accepted)+okAnswer(2), setupAnswer(1, "s", translated)+okAnswer(2))
		l.openMedia()
		w.end()
		l.counted(HelperRTSP, "opened 2")
	})
}
