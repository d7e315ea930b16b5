package session

import (
	"bytes"
	"encoding/binary"
	"io"
	"strconv"
	"testing"
)

// FuzzSession checks, for any two streams in any pieces, that a session opens only what the
// client announced to this server, that it releases all that it reserved (newFakeNode), and
// that it ends.
func FuzzSession(f *testing.F) {
	rtspClient := request("OPTIONS", 1, "s") + setup(2, offer) + setup(3, "RTP/AVP;client_port=6000") + request("PLAY", 4, "s") + request("TEARDOWN", 5, "s")
	rtspServer := okAnswer(1) + setupAnswer(2, "s", accepted) + setupAnswer(3, "s", "RTP/AVP;client_port=40002;server_port=7000") + okAnswer(4) + "$\x00\x00\x04RTP." + okAnswer(5)
	for _, x := range [][2]string{
		{rtspClient, rtspServer},
		{setup(2, offer) + setup(2, offer), setupAnswer(2, "s", accepted+";source=10.0.0.1") + setupAnswer(2, "s", accepted)},
		{setup(2, offer+",RTP/AVP/TCP;interleaved=0-1"), setupAnswer(2, "s", "RTP/AVP/TCP;interleaved=0-1")},
		{setup(2, "RTP/AVP;client_port=0"), "$\x00\x10\x00half"},
		{pnaHello, "PNA\x00\x0a"},
		{"\x16\x03\x01\x00\x05hello", "\x16\x03\x03\x00\x02ok"},
		{"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"},
	} {
		f.Add([]byte(x[0]), []byte(x[1]), []byte{255, 255, 255, 255})
		f.Add([]byte(x[0]), []byte(x[1]), []byte{1, 0, 2, 0, 50, 0, 100, 80, 30, 200})
	}
	f.Fuzz(func(t *testing.T, client, server, pieces []byte) {
		inBubble(t, func(l *lab) {
			w := l.connect()
			for _, c := range []*duplex{w.client, w.server} {
				go func() { _, _ = io.Copy(io.Discard, c) }()
			}
			// The pieces are of the client and of the server, in turns.
			left := [2][]byte{client, server}
			to := [2]*duplex{w.client, w.server}
			for i, n := range pieces {
				b := left[i%2][:min(int(n), len(left[i%2]))]
				left[i%2] = left[i%2][len(b):]
				if len(b) > 0 {
					_, _ = to[i%2].Write(b)
				}
			}
			for i, b := range left {
				if len(b) > 0 {
					_, _ = to[i].Write(b)
				}
			}
			_ = w.client.CloseWrite()
			w.end()
			for _, m := range l.node.opened {
				if m.Client.Addr() != clientAddr.Addr() || !named(client, m.Client.Port()) {
					t.Errorf("%v is open, but the client did not announce it", m)
				}
				if m.Server.Addr() != serverAddr.Addr() || m.Server.Port() != 0 && !named(server, m.Server.Port()) {
					t.Errorf("%v is open, but the server did not name it", m)
				}
			}
			if l.server.connections != 0 || len(l.server.usage) != 0 {
				t.Errorf("left: %d connections, %v", l.server.connections, l.server.usage)
			}
		})
	})
}

// named reports whether a stream has a port, as RTSP or as PNA writes it.
func named(b []byte, port uint16) bool {
	return bytes.Contains(b, strconv.AppendUint(nil, uint64(port), 10)) ||
		bytes.Contains(b, binary.BigEndian.AppendUint16(nil, port))
}
