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

// TestIdleConnectionsGiveWay: clients that open many connections, and leave them idle after
// whatever they have sent, do not keep others from being served, and the server has no more
// connections than its limit. The control is a server without a limit: it has all of them.
func TestIdleConnectionsGiveWay(t *testing.T) {
	const many = 200
	for name, text := range map[string]string{
		"silent":           "",
		"half a request":   "GET /metrics HTTP/1.1\r\nHost: ",
		"unread answers":   request,
		"a body to come":   "GET /metrics HTTP/1.1\r\nHost: masqd\r\nContent-Length: 100\r\n\r\n",
		"not HTTP":         "\x16\x03\x01",
		"another endpoint": "GET /readyz HTTP/1.1\r\nHost: masqd\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{}, fewConnections)
			for range many {
				s.open(text)
				if n := s.connections(); n > fewConnections {
					t.Fatalf("%d connections are open", n)
				}
			}
			if code, _, err := get(s.at, "/metrics"); code != http.StatusOK {
				t.Errorf("%d, %v", code, err)
			}
			// The server ends the others by itself: with an answer that says so.
			waits := name == "silent" || name == "half a request"
			if _, cut := s.Connections(); waits && cut == 0 {
				t.Error("no connection was closed to make room")
			}
		})
	}
	t.Run("control", func(t *testing.T) {
		s := start(t, Options{}, 2*many)
		for range many {
			s.open("")
		}
		assert.Until(t, "all connections are open", func() bool { return s.connections() == many })
	})
}

// TestRequestIsNotCut: while an answer is made, its connection is not closed to make room,
// and a new one waits. When it has been written, the connection ends.
func TestRequestIsNotCut(t *testing.T) {
	release, asked := make(chan struct{}), make(chan struct{}, 1)
	free := sync.OnceFunc(func() { close(release) })
	defer free()
	s := start(t, Options{Readiness: func() (any, bool) {
		select {
		case asked <- struct{}{}:
		default:
		}
		<-release
		return "yes", true
	}}, 1)
	c := s.open("GET /readyz HTTP/1.1\r\nHost: masqd\r\n\r\n")
	<-asked
	waiting := s.open("GET /healthz HTTP/1.1\r\nHost: masqd\r\n\r\n")
	l := s.served[0]
	assert.Until(t, "a connection waits for room", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.full })
	free()
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(answer.Body); string(b) != "\"yes\"\n" || err != nil || !answer.Close {
		t.Errorf("%q, %v, the connection ends: %t", b, err, answer.Close)
	}
	if answer, err := http.ReadResponse(bufio.NewReader(waiting), nil); err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("%+v, %v", answer, err)
	}
}

// TestVictim: the oldest connection that sent nothing goes first, then the one without
// progress for the longest time.
func TestVictim(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration, heard bool) *conn {
		c := &conn{progress: now.Add(-d)}
		c.heard.Store(heard)
		return c
	}
	fresh, silent, stalled, longer, cut, busy := ago(0, true), ago(0, false), ago(stallTime, true), ago(2*stallTime, true), ago(time.Hour, false), ago(time.Hour, true)
	cut.isCut, busy.busy = true, 1
	for _, c := range []struct {
		open []*conn
		want *conn
	}{
		{nil, nil},
		{[]*conn{fresh, busy, cut}, nil},
		{[]*conn{busy, stalled, fresh}, stalled},
		{[]*conn{stalled, longer, fresh}, longer},
		{[]*conn{longer, busy, silent, ago(0, false), fresh}, silent},
	} {
		if got := (&listener{open: c.open}).victim(now); got != c.want {
			t.Errorf("of %v it closes %v, not %v", c.open, got, c.want)
		}
	}
}

// TestUnreadInputIsHeard: a connection whose request has come and was not read yet is not
// taken for a silent one.
func TestUnreadInputIsHeard(t *testing.T) {
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
	first.heard.Store(false)
	if got := l.victim(time.Now()); got != silent {
		t.Error("the connection with a request is closed before the silent one")
	}
}

// TestListenerEnds: closing a listener ends an Accept that waits for room.
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
	first.(*conn).advance(1) // it must stay
	ended := make(chan error, 1)
	go func() { _, err := l.Accept(); ended <- err }()
	assert.Until(t, "the second waits", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.full })
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("Accept returned a connection")
	}
}
