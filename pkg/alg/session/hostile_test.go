package session

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestClientRefused: what a client may not announce. It gets 461, and the server nothing.
func TestClientRefused(t *testing.T) {
	tests := []struct{ name, transport, reason string }{
		{"another address", offer + ";destination=10.88.0.3", "foreign-address"},
		{"a name", offer + ";destination=localhost", "foreign-address"},
		{"the address of the server", offer + ";destination=198.51.100.241", "foreign-address"},
		{"another address, RTSP 2.0", `RTP/AVP;unicast;dest_addr="10.88.0.3:5000"/"10.88.0.3:5001"`, "foreign-address"},
		{"port 0", "RTP/AVP;client_port=0-1", "ports"},
		{"port 65536", "RTP/AVP;client_port=65536", "ports"},
		{"65535-65536", "RTP/AVP;client_port=65535-65536", "ports"},
		{"a negative port", "RTP/AVP;client_port=-1", "ports"},
		{"a range", "RTP/AVP;client_port=1024-65535", "ports"},
		{"no number", "RTP/AVP;client_port=a-b", "ports"},
		{"two values", offer + ";client_port=6000-6001", "malformed"},
		{"an open quote", offer + `;mode="PLAY`, "malformed"},
		{"many offers", offer + strings.Repeat(",RTP/AVP;client_port=6000-6001", 16), "malformed"},
		{"the second offer", offer + ",RTP/AVP;client_port=0", "ports"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(l *lab) {
				w := l.connect()
				w.refused(setup(1, test.transport), 1)
				if n := l.node.ports(); n != 0 {
					t.Errorf("%d ports are reserved", n)
				}
				// The connection still works: a player asks for a stream within it.
				tcp := setup(2, "RTP/AVP/TCP;interleaved=0-1")
				w.fromClient(tcp, tcp)
				w.end()
				l.openMedia()
				l.counted(HelperRTSP, "refused "+test.reason+" 1")
			})
		})
	}
}

// TestServerRefused: what a server may not answer. The client gets 461, and nothing is open.
func TestServerRefused(t *testing.T) {
	tests := []struct{ name, transport, reason string }{
		{"another source", accepted + ";source=198.51.100.7", "foreign-address"},
		{"the client as source", accepted + ";source=10.88.0.2", "foreign-address"},
		{"another destination", accepted + ";destination=198.51.100.7", "foreign-address"},
		{"another source, RTSP 2.0", `RTP/AVP;unicast;dest_addr="192.0.2.53:40000"/"192.0.2.53:40001";src_addr="198.51.100.7:6256"/"198.51.100.7:6257"`, "foreign-address"},
		{"port 22", "RTP/AVP;unicast;client_port=22-23;server_port=6256-6257", "ports"},
		{"the client's ports", "RTP/AVP;unicast;client_port=5000-5001;server_port=6256-6257", "ports"},
		{"one more port", "RTP/AVP;unicast;client_port=40001-40002;server_port=6256-6257", "ports"},
		{"one port of two", "RTP/AVP;unicast;client_port=40000;server_port=6256", "ports"},
		{"server port 0", "RTP/AVP;unicast;client_port=40000-40001;server_port=0-1", "ports"},
		{"two transports", accepted + "," + accepted, "malformed"},
		{"an open quote", accepted + `;ssrc="`, "malformed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(l *lab) {
				w := l.connect()
				w.fromClient(setup(1, offer), setup(1, offered))
				body := "v=0\r\n"
				answer := strings.Replace(setupAnswer(1, "s", test.transport), "\r\n\r\n", fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n", len(body)), 1) + body
				w.fromServer(answer+okAnswer(5), refusal(1)+okAnswer(5))
				if n := l.node.ports(); n != 0 {
					t.Errorf("%d ports are reserved", n)
				}
				w.end()
				l.openMedia()
				l.counted(HelperRTSP, "refused "+test.reason+" 1")
			})
		})
	}
}

// TestNodeRefuses: the node cannot reserve or open.
func TestNodeRefuses(t *testing.T) {
	t.Run("no ports", func(t *testing.T) {
		inBubble(t, func(l *lab) {
			l.node.last = 40002 // one pair and one port
			w := l.connect()
			w.refused(setup(1, offer+",RTP/AVP;client_port=6000-6001"), 1)
			w.fromClient(setup(2, offer), setup(2, offered))
			w.end()
			l.counted(HelperRTSP, "refused no-ports 1")
		})
	})
	t.Run("port 22 of the node", func(t *testing.T) {
		inBubble(t, func(l *lab) {
			l.node.next = 22
			w := l.connect()
			w.refused(setup(1, offer), 1)
			w.end()
			l.counted(HelperRTSP, "refused no-ports 1")
		})
	})
	for reason, failure := range map[Reason]error{InUse: ErrInUse, Failed: errors.New("permission denied")} {
		t.Run(string(reason), func(t *testing.T) {
			inBubble(t, func(l *lab) {
				l.node.openErr = func(m Media) error {
					if m.Client.Port() == 5001 { // the second of the pair
						return fmt.Errorf("open: %w", failure)
					}
					return nil
				}
				w := l.connect()
				w.fromClient(setup(1, offer), setup(1, offered))
				w.fromServer(setupAnswer(1, "s", accepted), refusal(1))
				l.openMedia()
				if n := l.node.ports(); n != 0 {
					t.Errorf("%d ports are reserved", n)
				}
				w.end()
				l.counted(HelperRTSP, fmt.Sprintf("refused %s 1", reason))
			})
		})
	}
}

// TestUnaskedAnswers: answers to requests that were not sent, sent twice, or answered already.
func TestUnaskedAnswers(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		w.fromServer(setupAnswer(1, "s", accepted), setupAnswer(1, "s", accepted))
		w.fromClient(setup(1, offer), setup(1, offered))
		w.fromServer(setupAnswer(2, "s", accepted), setupAnswer(2, "s", accepted))
		noCSeq := crlf("RTSP/1.0 200 OK\nSession: s\nTransport: " + accepted + "\n\n")
		w.fromServer(noCSeq, noCSeq)
		w.refused(setup(1, "RTP/AVP;client_port=6000-6001"), 1) // twice
		w.fromServer(setupAnswer(1, "s", accepted), setupAnswer(1, "s", translated))
		w.fromServer(setupAnswer(1, "s", accepted), setupAnswer(1, "s", accepted))
		l.openMedia("5000 40000 6256", "5001 40001 6257")
		w.end()
		l.counted(HelperRTSP, "opened 2, refused malformed 1")
	})
}

// TestSetupWithoutCSeq: the refusal has none either.
func TestSetupWithoutCSeq(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		for _, cseq := range []string{"", "CSeq: x\n", "CSeq: 99999999999\n"} {
			w.send(w.client, crlf("SETUP rtsp://h/a RTSP/1.0\n"+cseq+"Transport: "+offer+"\n\n"))
			w.expect(w.client, crlf("RTSP/1.0 461 Unsupported Transport\n\n"))
		}
		w.end()
		l.counted(HelperRTSP, "refused malformed 3")
	})
}

// TestManySetups: 10,000 requests on one connection, with and without answers.
func TestManySetups(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		for i := range 10_000 {
			port := 5000 + 2*(i%1000)
			text := setup(i, fmt.Sprintf("RTP/AVP;client_port=%d-%d", port, port+1))
			if i < MaxPending {
				w.fromClient(text, setup(i, fmt.Sprintf("RTP/AVP;client_port=%d-%d", 40000+2*i, 40001+2*i)))
			} else {
				w.refused(text, i)
			}
		}
		if n := l.node.ports(); n != 2*MaxPending || l.node.reservations != MaxPending {
			t.Errorf("%d ports are reserved by %d calls", n, l.node.reservations)
		}
		l.openMedia()
		// All are answered. The limit of open streams follows.
		for i := range MaxPending {
			w.send(w.server, setupAnswer(i, "s", fmt.Sprintf("RTP/AVP;client_port=%d-%d;server_port=6256-6257", 40000+2*i, 40001+2*i)))
			w.expect(w.client, setupAnswer(i, "s", fmt.Sprintf("RTP/AVP;client_port=%d-%d;server_port=6256-6257", 5000+2*i, 5001+2*i)))
		}
		w.refused(setup(20_000, offer), 20_000)
		if n := len(l.node.isOpen()); n != 2*MaxStreams {
			t.Errorf("%d media are open", n)
		}
		w.end()
		l.counted(HelperRTSP, fmt.Sprintf("opened %d, refused limit %d", 2*MaxStreams, 10_000-MaxPending+1))
	})
}

// TestManyTeardowns: requests to end a stream are remembered until their answers too. Those
// beyond the limit reach the server.
func TestManyTeardowns(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		w.fromClient(setup(0, offer), setup(0, offered))
		w.fromServer(setupAnswer(0, "s", accepted), setupAnswer(0, "s", translated))
		for i := range 2 * MaxPending {
			w.fromClient(request("TEARDOWN", 1+i, "s"), request("TEARDOWN", 1+i, "s"))
		}
		w.send(w.client, setup(1000, offer))
		w.expectNothing(w.server)
		w.expect(w.client, refusal(1000))
		w.end()
		l.counted(HelperRTSP, "opened 2, refused limit 1")
	})
}

// TestPortsOfAttachment: the limit is for all connections of an attachment, and does not
// affect other attachments.
func TestPortsOfAttachment(t *testing.T) {
	inBubble(t, func(l *lab) {
		other := netip.MustParseAddr("10.88.0.3")
		l.node.owners[other] = "net/b/eth0"
		const connections = MaxAttachmentPorts / 2 / MaxPending
		var all []*wire
		for range connections {
			w := l.connect()
			all = append(all, w)
			for i := range MaxPending {
				w.send(w.client, setup(i, offer))
				w.expect(w.server, setup(i, fmt.Sprintf("RTP/AVP;unicast;client_port=%d-%d", l.lastPort(), l.lastPort()+1)))
			}
		}
		w := l.connect()
		w.refused(setup(1, offer), 1)
		b := l.connectFrom(netip.AddrPortFrom(other, 1), serverAddr)
		b.send(b.client, setup(1, offer))
		b.expect(b.server, setup(1, fmt.Sprintf("RTP/AVP;unicast;client_port=%d-%d", l.lastPort(), l.lastPort()+1)))
		all[0].end()
		w.send(w.client, setup(1, offer))
		w.expect(w.server, setup(1, offered))
		for _, x := range append(all[1:], w, b) {
			x.end()
		}
		l.counted(HelperRTSP, "refused limit 1")
		if len(l.server.usage) != 0 || l.server.connections != 0 {
			t.Errorf("usage is left: %v, %d", l.server.usage, l.server.connections)
		}
	})
}

// lastPort returns the first port of the pair that was reserved last, after the session has
// used it.
func (l *lab) lastPort() int {
	synctest.Wait()
	return 40000 + l.node.ports() - 2
}

// TestConnectionsOfAttachment: the limit of an attachment does not affect others.
func TestConnectionsOfAttachment(t *testing.T) {
	inBubble(t, func(l *lab) {
		other := netip.MustParseAddr("10.88.0.3")
		l.node.owners[other] = "net/b/eth0"
		var open []*wire
		for range MaxAttachmentConnections {
			open = append(open, l.connect())
		}
		w := l.connect()
		w.expectEnd(w.client)
		if !w.inside[0].wasReset.Load() {
			t.Error("not reset")
		}
		w.end()
		open = append(open, l.connectFrom(netip.AddrPortFrom(other, 1), serverAddr))
		for _, w := range open {
			w.fromClient(okAnswer(1), okAnswer(1))
			w.end()
		}
		l.counted(HelperRTSP, "refused limit 1")
	})
}

// TestManyConnections: 10,000 connections of many containers.
func TestManyConnections(t *testing.T) {
	inBubble(t, func(l *lab) {
		const attachments, each = 100, 100
		var open []*wire
		resets := 0
		for i := range attachments {
			a := netip.AddrFrom4([4]byte{10, 88, 1, byte(i)})
			l.node.owners[a] = a.String()
			for range each {
				w := l.connectFrom(netip.AddrPortFrom(a, 1), serverAddr)
				if w.inside[0].wasReset.Load() {
					resets++
					w.expectEnd(w.client)
					w.end()
					continue
				}
				open = append(open, w)
			}
		}
		if len(open) != MaxConnections || l.server.connections != MaxConnections {
			t.Errorf("%d connections, %d counted", len(open), l.server.connections)
		}
		l.counted(HelperRTSP, fmt.Sprintf("refused limit %d", attachments*each-MaxConnections))
		for _, w := range open {
			w.end()
		}
		w := l.connect()
		w.fromClient(okAnswer(1), okAnswer(1))
		w.end()
	})
}

// TestLongHeader: a header without an end is not stored, but copied unread.
func TestLongHeader(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		line := "X: " + strings.Repeat("x", 995) + "\r\n"
		text := "SETUP rtsp://h/a RTSP/1.0\r\n" + strings.Repeat(line, 100)
		w.sendLater(w.client, text)
		w.expect(w.server, text)
		// The rest is not read either.
		w.fromClient("\r\n"+setup(1, offer), "\r\n"+setup(1, offer))
		w.fromServer(setupAnswer(1, "s", accepted), setupAnswer(1, "s", accepted))
		w.end()
		l.counted(HelperRTSP, "unreadable invalid 1")
	})
}

// TestSlowHeader: one byte each second. Either direction is copied unread after
// HeaderTimeout.
func TestSlowHeader(t *testing.T) {
	for _, fromServer := range []bool{false, true} {
		inBubble(t, func(l *lab) {
			w := l.connect()
			from, to := w.client, w.server
			if fromServer {
				from, to = to, from
				w.fromClient(setup(1, offer), setup(1, offered))
			}
			time.Sleep(24 * time.Hour) // silence before it is normal
			text := "RTSP/1.0 200 OK\r\nX: " + strings.Repeat("x", 100)
			began := time.Now()
			go func() {
				for _, c := range []byte(text) {
					_, _ = from.Write([]byte{c})
					time.Sleep(time.Second)
				}
			}()
			w.expect(to, text[:1])
			if d := time.Since(began); d != HeaderTimeout {
				t.Errorf("the first byte is passed on after %s", d)
			}
			w.expect(to, text[1:])
			time.Sleep(time.Minute)
			if fromServer {
				// The answers are not readable, so requests are not rewritten.
				w.fromClient(setup(2, offer), setup(2, offer))
				w.fromClient(setup(3, "RTP/AVP;client_port=0"), setup(3, "RTP/AVP;client_port=0"))
			}
			w.end()
			l.counted(HelperRTSP, "unreadable slow-header 1")
		})
	}
}

// TestHeaderTimeoutOfEachMessage: the time is that of one header, also if parts of the next
// one always arrive with it.
func TestHeaderTimeoutOfEachMessage(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		text := request("OPTIONS", 1, "s")
		half := len(text) / 2
		w.send(w.client, text[:half])
		for range 20 {
			time.Sleep(HeaderTimeout - time.Second)
			w.send(w.client, text[half:]+text[:half])
			w.expect(w.server, text)
		}
		w.fromClient(text[half:]+setup(1, offer), text+setup(1, offered))
		w.end()
		l.counted(HelperRTSP, "")
	})
}

// TestUnreadable: protocols that are not RTSP are copied, both ways.
func TestUnreadable(t *testing.T) {
	tests := map[Protocol][2]string{
		TLS:     {"\x16\x03\x01\x00\x05hello", "\x16\x03\x03\x00\x02ok"},
		HTTP:    {"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\ndata"},
		Other:   {"\x00\x01binary", "\xff\xfe"},
		Invalid: {"SETUP rtsp://h RTSP/1.0\r\nno colon\r\n\r\n", "no RTSP\r\n"},
	}
	for protocol, text := range tests {
		t.Run(string(protocol), func(t *testing.T) {
			inBubble(t, func(l *lab) {
				w := l.connect()
				w.fromClient(text[0], text[0])
				w.fromServer(text[1], text[1])
				w.fromClient(setup(1, offer), setup(1, offer))
				w.fromServer(setupAnswer(1, "s", accepted), setupAnswer(1, "s", accepted))
				w.end()
				l.counted(HelperRTSP, fmt.Sprintf("unreadable %s 1", protocol))
			})
		})
	}
	t.Run("the server speaks first", func(t *testing.T) {
		inBubble(t, func(l *lab) {
			w := l.connect()
			w.fromServer("220 hello\r\n", "220 hello\r\n")
			w.fromClient(setup(1, offer), setup(1, offer))
			w.end()
			l.counted(HelperRTSP, "unreadable other 1")
		})
	})
}

// TestNotAsked: an address without an attachment that asked for the helper.
func TestNotAsked(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connectFrom(netip.MustParseAddrPort("10.88.0.99:1"), serverAddr)
		w.fromClient(setup(1, offer), setup(1, offer))
		w.fromServer(setupAnswer(1, "s", accepted), setupAnswer(1, "s", accepted))
		w.end()
		l.counted(HelperRTSP, "unreadable not-asked 1")
	})
}

// TestHalfClose: each direction can end on its own, also within a message.
func TestHalfClose(t *testing.T) {
	for _, part := range []string{"", "SETUP rtsp://h/a RTSP/1.0\r\nCSeq", "$\x00\x00\x08half", "P", "PN"} {
		inBubble(t, func(l *lab) {
			w := l.connect()
			w.send(w.client, part)
			_ = w.client.CloseWrite()
			w.expect(w.server, part)
			w.expectEnd(w.server)
			// The other direction is still open.
			w.fromServer(okAnswer(1), okAnswer(1))
			time.Sleep(HalfClosedTimeout - time.Second)
			w.fromServer(okAnswer(2), okAnswer(2))
			_ = w.server.CloseWrite()
			w.expectEnd(w.client)
			<-w.done
			if w.inside[0].wasReset.Load() || w.inside[1].wasReset.Load() {
				t.Error("reset")
			}
			w.end()
		})
	}
}

// TestHalfClosedSilence: a half-closed connection ends after a silence.
func TestHalfClosedSilence(t *testing.T) {
	for _, byServer := range []bool{false, true} {
		inBubble(t, func(l *lab) {
			w := l.connect()
			from, to := w.client, w.server
			if byServer {
				from, to = to, from
			}
			began := time.Now()
			_ = from.CloseWrite()
			w.expectEnd(to)
			<-w.done
			if d := time.Since(began); d != HalfClosedTimeout {
				t.Errorf("ended after %s", d)
			}
			w.end()
		})
	}
}

// TestUnreachable: the client's connection is reset if the server does not accept one.
func TestUnreachable(t *testing.T) {
	inBubble(t, func(l *lab) {
		l.node.refuse.Store(true)
		w := l.connect()
		w.expectEnd(w.client)
		if !w.inside[0].wasReset.Load() {
			t.Error("not reset")
		}
		w.end()
		l.counted(HelperRTSP, "refused unreachable 1")
	})
}

// TestNodeFails: media can neither be renewed nor closed. The session works on.
func TestNodeFails(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connect()
		w.fromClient(setup(1, offer), setup(1, offered))
		w.fromServer(setupAnswer(1, "s", accepted), setupAnswer(1, "s", translated))
		l.node.fail(fmt.Errorf("renew: %w", ErrInUse), errors.New("permission denied"))
		time.Sleep(2*RenewInterval + time.Second)
		synctest.Wait()
		l.counted(HelperRTSP, "opened 2, refused in-use 4")
		w.fromClient(request("TEARDOWN", 2, "s"), request("TEARDOWN", 2, "s"))
		w.fromServer(okAnswer(2), okAnswer(2))
		if n := l.node.ports(); n != 0 {
			t.Errorf("%d ports are reserved", n)
		}
		w.end()
	})
}

// TestRefusedBody: the body of a refused request is not passed on, nor a part of it at the
// end of the stream.
func TestRefusedBody(t *testing.T) {
	withBody := func(cseq int, transport string) string {
		return strings.Replace(setup(cseq, transport), "\r\n\r\n", "\r\nContent-Length: 4\r\n\r\n", 1)
	}
	inBubble(t, func(l *lab) {
		w := l.connect()
		w.refused(withBody(1, "RTP/AVP;client_port=0"), 1)
		w.fromClient("body"+withBody(2, offer)+"body", withBody(2, offered)+"body")
		w.refused(withBody(3, "RTP/AVP;client_port=0"), 3)
		w.send(w.client, "bo")
		_ = w.client.CloseWrite()
		w.expectEnd(w.server)
		w.end()
		l.counted(HelperRTSP, "refused ports 2")
	})
}

// TestNoAddress: a connection without an address of a client.
func TestNoAddress(t *testing.T) {
	inBubble(t, func(l *lab) {
		w := l.connectFrom(netip.AddrPort{}, serverAddr)
		w.expectEnd(w.client)
		w.end()
	})
}
