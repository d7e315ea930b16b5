package endpoint

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stallTime is how long a connection may make no progress before it can be closed to
// make room for a new connection. A connection that has sent nothing can be closed at once.
const stallTime = 100 * time.Millisecond

// listener limits the connections that are open at the same time. At the limit, it closes
// an open connection for each new one: the oldest connection that has sent nothing or, if
// all have sent something, the connection that has made no progress for the longest time.
// It keeps a connection while the answer to its request is rendered. With a limit that lets
// new connections wait, idle clients could lock out Prometheus and the kubelet.
//
// A connection counts until the HTTP server has closed it too: memory and descriptors
// stay within the limit while thousands are opened.
type listener struct {
	net.Listener
	max   int
	stats *stats
	freed chan struct{} // has room for one
	ended chan struct{}

	mu    sync.Mutex
	open  []*conn // in the order in which they were accepted
	full  bool    // a connection waits for room
	close func() error
}

// stats are of all listeners.
type stats struct{ open, cut atomic.Int64 }

// limit limits the connections of l to a number of at least 1.
func limit(l net.Listener, most int, s *stats) *listener {
	ended := make(chan struct{})
	return &listener{
		Listener: l, max: max(most, 1), stats: s, freed: make(chan struct{}, 1), ended: ended,
		close: sync.OnceValue(func() error { close(ended); return l.Close() }),
	}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: accepted, of: l, progress: time.Now()}
	for {
		wait, ok := l.admit(c)
		if ok {
			return c, nil
		}
		again := time.NewTimer(wait)
		select {
		case <-l.freed:
		case <-again.C:
		case <-l.ended:
			again.Stop()
			_ = accepted.Close()
			return nil, net.ErrClosed
		}
		again.Stop()
	}
}

// admit adds a connection if there is room. Otherwise it closes another one if it may,
// and returns how long to wait for room at most.
func (l *listener) admit(c *conn) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full = len(l.open) >= l.max; !l.full {
		l.open = append(l.open, c)
		l.stats.open.Add(1)
		return 0, true
	}
	if victim := l.victim(time.Now()); victim != nil {
		victim.cut()
		l.stats.cut.Add(1)
	}
	return stallTime, false
}

// victim returns the connection to close next, nil if none may be closed now.
func (l *listener) victim(now time.Time) *conn {
	var stalled *conn
	for _, c := range l.open {
		switch {
		case c.isCut || c.busy > 0:
		case !c.heard.Load() && !c.hasInput():
			return c
		case now.Sub(c.progress) >= stallTime && (stalled == nil || c.progress.Before(stalled.progress)):
			stalled = c
		}
	}
	return stalled
}

// Close implements net.Listener.
func (l *listener) Close() error { return l.close() }

func (l *listener) remove(c *conn) {
	l.mu.Lock()
	if i := slices.Index(l.open, c); i >= 0 {
		l.open = slices.Delete(l.open, i, i+1)
		l.stats.open.Add(-1)
	}
	l.mu.Unlock()
	select {
	case l.freed <- struct{}{}:
	default:
	}
}

// conn is a connection that a listener counts.
type conn struct {
	net.Conn
	of    *listener
	heard atomic.Bool // the client has sent something

	// The listener's mutex guards these.
	progress time.Time // when it was accepted, a request came, or a part of an answer left
	busy     int       // answers that are being made
	isCut    bool
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.heard.Swap(true) {
		c.advance(0)
	}
	return n, err
}

// hasInput reports whether the client has sent something that was not read yet: on a busy
// machine, Read may come late.
func (c *conn) hasInput() bool {
	s, ok := c.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	err = raw.Control(func(fd uintptr) {
		// TIOCINQ is FIONREAD, and SIOCINQ of tcp(7).
		if n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ); err == nil && n > 0 {
			c.heard.Store(true)
		}
	})
	return err == nil && n > 0
}

// advance notes progress, and how many answers more are being made.
func (c *conn) advance(answers int) {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.progress = time.Now()
	c.busy += answers
}

// isLast reports whether a connection waits for room, so that this one should end with
// its answer.
func (c *conn) isLast() bool {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	return c.of.full
}

// cut closes the connection to make room; the HTTP server then closes it too. What the
// client has not read is discarded, which frees the kernel's memory at once.
func (c *conn) cut() {
	c.isCut = true
	if t, ok := c.Conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Conn.Close()
}

// Close implements net.Conn.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.of.remove(c)
	return err
}

type connKey struct{}

// remember adds a connection to the context of its requests, for of.
func remember(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if own, ok := c.(*conn); ok {
		return context.WithValue(ctx, connKey{}, own)
	}
	return ctx
}

// connOf returns the connection of a request, nil if no listener counts it.
func connOf(ctx context.Context) *conn {
	c, _ := ctx.Value(connKey{}).(*conn)
	return c
}
