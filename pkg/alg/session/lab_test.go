package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	clientAddr = netip.MustParseAddrPort("10.88.0.2:51234")
	serverAddr = netip.MustParseAddrPort("198.51.100.241:554")
)

// lab has control connections in memory. Its clock is that of synctest.
type lab struct {
	t        *testing.T
	node     *fakeNode
	server   *Server
	counters *Counters
}

// inBubble runs a test with the time of synctest, in which all goroutines must end.
func inBubble(t *testing.T, test func(*lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(newLab(t))
	})
}

func newLab(t *testing.T) *lab {
	l := &lab{t: t, node: newFakeNode(t), counters: &Counters{}}
	l.server = NewServer(Options{Node: l.node, Counters: l.counters})
	return l
}

// wire is one control connection of a lab.
type wire struct {
	*lab
	client, server *duplex // the ends that are not the session's
	inside         [2]*duplex
	cancel         context.CancelCauseFunc
	done           chan struct{} // Serve has returned
}

// connect starts a session.
func (l *lab) connect() *wire { return l.connectFrom(clientAddr, serverAddr) }

func (l *lab) connectFrom(from, to netip.AddrPort) *wire {
	ctx, cancel := context.WithCancelCause(l.t.Context())
	w := &wire{lab: l, cancel: cancel, done: make(chan struct{})}
	var client, server *duplex
	w.client, client = newDuplex(from)
	w.server, server = newDuplex(to)
	w.inside = [2]*duplex{client, server}
	l.node.mu.Lock()
	l.node.dial = func(context.Context, netip.AddrPort, netip.AddrPort) (net.Conn, error) { return server, nil }
	l.node.mu.Unlock()
	go func() {
		defer close(w.done)
		l.server.Serve(ctx, client, to)
	}()
	synctest.Wait() // for dial
	return w
}

// end closes both ends and waits until the ports are released.
func (w *wire) end() {
	_ = w.client.Close()
	_ = w.server.Close()
	<-w.done
	w.cancel(nil)
}

// fromClient sends text and checks what the server gets.
func (w *wire) fromClient(text, want string) {
	w.t.Helper()
	w.send(w.client, text)
	w.expect(w.server, want)
}

// fromServer sends text and checks what the client gets.
func (w *wire) fromServer(text, want string) {
	w.t.Helper()
	w.send(w.server, text)
	w.expect(w.client, want)
}

// refused sends text and checks that the client gets a refusal.
func (w *wire) refused(text string, cseq int) {
	w.t.Helper()
	w.send(w.client, text)
	w.expect(w.client, refusal(cseq))
}

func (w *wire) send(to *duplex, text string) {
	w.t.Helper()
	if _, err := to.Write([]byte(text)); err != nil {
		w.t.Fatalf("send %q: %v", text, err)
	}
}

// sendLater sends what is more than one read of the session.
func (w *wire) sendLater(to *duplex, text string) {
	go func() { _, _ = to.Write([]byte(text)) }()
}

func (w *wire) expect(from *duplex, want string) {
	w.t.Helper()
	b := make([]byte, len(want))
	n, err := io.ReadFull(from, b)
	if string(b[:n]) != want {
		w.t.Fatalf("got  %q, %v\nwant %q", b[:n], err, want)
	}
}

// expectNothing checks that no bytes have arrived.
func (w *wire) expectNothing(from *duplex) {
	w.t.Helper()
	_ = from.SetReadDeadline(time.Now().Add(time.Millisecond))
	b := make([]byte, 100)
	if n, err := from.Read(b); n > 0 || !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
		w.t.Fatalf("got %q, %v; want nothing", b[:n], err)
	}
	_ = from.SetReadDeadline(time.Time{})
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// expectEnd checks that the stream has ended, and how.
func (w *wire) expectEnd(from *duplex) {
	w.t.Helper()
	if n, err := from.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		w.t.Fatalf("got %d bytes, %v; want the end", n, err)
	}
}

// counted checks the counters of a helper that are not 0: "opened 2, refused ports 1".
func (l *lab) counted(h Helper, want string) {
	l.t.Helper()
	if got := l.counts(h); got != want {
		l.t.Errorf("counters: %q, want %q", got, want)
	}
}

func (l *lab) counts(h Helper) string {
	c := l.counters.Snapshot()[h]
	var out []string
	if c.Opened > 0 {
		out = append(out, fmt.Sprintf("opened %d", c.Opened))
	}
	for _, r := range Reasons {
		if n := c.Refused[r]; n > 0 {
			out = append(out, fmt.Sprintf("refused %s %d", r, n))
		}
	}
	for _, p := range Protocols {
		if n := c.Unreadable[p]; n > 0 {
			out = append(out, fmt.Sprintf("unreadable %s %d", p, n))
		}
	}
	return strings.Join(out, ", ")
}

// openMedia checks which media are open, in any order: "5000 40000 6256" are the ports of
// client, egress address and server.
func (l *lab) openMedia(want ...string) {
	l.t.Helper()
	got := map[string]bool{}
	for _, m := range l.node.isOpen() {
		got[fmt.Sprintf("%d %d %d", m.Client.Port(), m.Egress.Port(), m.Server.Port())] = true
	}
	for _, x := range want {
		if !got[x] {
			l.t.Errorf("%s is not open: %v", x, got)
		}
	}
	if len(got) != len(want) {
		l.t.Errorf("open: %v, want %v", got, want)
	}
}

// duplex is a connection whose directions can end on their own.
type duplex struct {
	net.Conn // reads
	out      net.Conn
	remote   netip.AddrPort
	wasReset atomic.Bool
	closed   atomic.Bool
}

// newDuplex returns both ends of a connection. RemoteAddr of the second returns remote.
func newDuplex(remote netip.AddrPort) (outer, inner *duplex) {
	a, b := net.Pipe()
	c, d := net.Pipe()
	return &duplex{Conn: a, out: c}, &duplex{Conn: d, out: b, remote: remote}
}

func (d *duplex) Write(b []byte) (int, error) { return d.out.Write(b) }
func (d *duplex) CloseWrite() error           { return d.out.Close() }
func (d *duplex) RemoteAddr() net.Addr        { return net.TCPAddrFromAddrPort(d.remote) }

func (d *duplex) Close() error {
	d.closed.Store(true)
	return errors.Join(d.Conn.Close(), d.out.Close())
}

func (d *duplex) SetLinger(seconds int) error {
	d.wasReset.Store(seconds == 0)
	return nil
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func setup(cseq int, transport string) string {
	return crlf(fmt.Sprintf("SETUP rtsp://198.51.100.241/a/%d RTSP/1.0\nCSeq: %d\nTransport: %s\n\n", cseq, cseq, transport))
}

func setupAnswer(cseq int, session, transport string) string {
	return crlf(fmt.Sprintf("RTSP/1.0 200 OK\nCSeq: %d\nSession: %s\nTransport: %s\n\n", cseq, session, transport))
}

func request(method string, cseq int, session string) string {
	return crlf(fmt.Sprintf("%s rtsp://198.51.100.241/a RTSP/1.0\nCSeq: %d\nSession: %s\n\n", method, cseq, session))
}

func okAnswer(cseq int) string { return crlf(fmt.Sprintf("RTSP/1.0 200 OK\nCSeq: %d\n\n", cseq)) }

func refusal(cseq int) string {
	return crlf(fmt.Sprintf("RTSP/1.0 461 Unsupported Transport\nCSeq: %d\n\n", cseq))
}

const (
	offer      = "RTP/AVP;unicast;client_port=5000-5001"
	offered    = "RTP/AVP;unicast;client_port=40000-40001"
	accepted   = "RTP/AVP;unicast;client_port=40000-40001;server_port=6256-6257"
	translated = "RTP/AVP;unicast;client_port=5000-5001;server_port=6256-6257"
)
