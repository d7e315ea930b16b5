package endpoint

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

const fewConnections = 4

// TestIdleConnectionsAreEvicted checks that clients with many idle connections do not lock out
// other clients, whatever they have sent, and that the server keeps its limit of connections.
// The control is a server with a higher limit: it keeps all connections.
func TestIdleConnectionsAreEvicted(t *testing.T) {
	const clients = 200
	for name, text := range map[string]string{
		"silent":           "",
		"half a request":   "GET /metrics HTTP/1.1\r\nHost: ",
		"unread answers":   request,
		"missing body":     "GET /metrics HTTP/1.1\r\nHost: masqd\r\nContent-Length: 100\r\n\r\n",
		"not HTTP":         "\x16\x03\x01",
		"another endpoint": "GET /readyz HTTP/1.1\r\nHost: masqd\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{}, fewConnections)
			for range clients {
				s.open(text)
				if n := s.connections(); n > fewConnections {
					t.Fatalf("%d connections are open", n)
				}
			}
			if code, _, err := get(s.at, "/metrics"); code != http.StatusOK {
				t.Errorf("GET /metrics: %d, %v", code, err)
			}
			// The server closes the other connections itself, after an answer with "Connection: close".
			idles := name == "silent" || name == "half a request"
			if _, closed := s.Connections(); idles && closed == 0 {
				t.Error("no connection was closed to make room")
			}
		})
	}
	t.Run("control", func(t *testing.T) {
		s := start(t, Options{}, 2*clients)
		for range clients {
			s.open("")
		}
		assert.Until(t, "all connections are open", func() bool { return s.connections() == clients })
	})
}

// TestRequestIsNotEvicted checks that a connection is not closed to make room while its answer
// is rendered, that a new connection waits, and that the first is closed after its answer.
func TestRequestIsNotEvicted(t *testing.T) {
	release, rendering := make(chan struct{}), make(chan struct{}, 1)
	finish := sync.OnceFunc(func() { close(release) })
	defer finish()
	s := start(t, Options{Readiness: func() (any, bool) {
		select {
		case rendering <- struct{}{}:
		default:
		}
		<-release
		return "yes", true
	}}, 1)
	c := s.open("GET /readyz HTTP/1.1\r\nHost: masqd\r\n\r\n")
	<-rendering
	waiting := s.open("GET /healthz HTTP/1.1\r\nHost: masqd\r\n\r\n")
	l := s.served[0]
	assert.Until(t, "a connection waits for room", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.full })
	finish()
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(answer.Body); string(b) != "\"yes\"\n" || err != nil || !answer.Close {
		t.Errorf("answer %q, %v, Connection: close is %t", b, err, answer.Close)
	}
	if answer, err := http.ReadResponse(bufio.NewReader(waiting), nil); err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("answer of the waiting connection: %+v, %v", answer, err)
	}
}

// TestVictim checks that the oldest connection that sent nothing is closed first, then the
// connection without progress for the longest time.
func TestVictim(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration, hasSent bool) *conn {
		c := &conn{progress: now.Add(-d)}
		c.hasSent.Store(hasSent)
		return c
	}
	fresh, silent, stalled, longer, evicted, rendering := ago(0, true), ago(0, false), ago(stallTime, true), ago(2*stallTime, true), ago(time.Hour, false), ago(time.Hour, true)
	evicted.isEvicted, rendering.rendering = true, 1
	for _, c := range []struct {
		open []*conn
		want *conn
	}{
		{nil, nil},
		{[]*conn{fresh, rendering, evicted}, nil},
		{[]*conn{rendering, stalled, fresh}, stalled},
		{[]*conn{stalled, longer, fresh}, longer},
		{[]*conn{longer, rendering, silent, ago(0, false), fresh}, silent},
	} {
		if got := (&listener{open: c.open}).victim(now); got != c.want {
			t.Errorf("of %v it closes %v, want %v", c.open, got, c.want)
		}
	}
}

// TestUnreadInput checks that a connection with an unread request does not count as silent.
func TestUnreadInput(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limit(inner, 2, new(stats))
	defer func() { _ = l.Close() }()
	accept := func() (net.Conn, *conn) {
		client, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return client, c.(*conn)
	}
	client, first := accept()
	_, silent := accept()
	if got := l.victim(time.Now()); got != first { // the control: the oldest
		t.Error("the oldest silent connection is not closed first")
	}
	if _, err := io.WriteString(client, request); err != nil {
		t.Fatal(err)
	}
	assert.Until(t, "the request arrives", first.hasInput)
	first.hasSent.Store(false)
	if got := l.victim(time.Now()); got != silent {
		t.Error("the connection with a request is closed before the silent one")
	}
}

// TestListenerEnds checks that closing a listener ends an Accept that waits for room.
func TestListenerEnds(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limit(inner, 1, new(stats))
	for range 2 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
	}
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	first.(*conn).advance(1) // it must not be closed
	ended := make(chan error, 1)
	go func() { _, err := l.Accept(); ended <- err }()
	assert.Until(t, "the second connection waits", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.full })
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("Accept returned a connection")
	}
}
