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
	freed chan struct{} // has room for one: a connection was closed
	ended chan struct{} // closed by Close

	mu    sync.Mutex
	open  []*conn // in the order in which they were accepted
	full  bool    // a connection waits for room
	close func() error
}

// stats count the connections of all listeners.
type stats struct{ open, evicted atomic.Int64 }

// limit limits the number of open connections of l, to at least 1.
func limit(l net.Listener, limit int, s *stats) *listener {
	ended := make(chan struct{})
	return &listener{
		Listener: l, max: max(limit, 1), stats: s, freed: make(chan struct{}, 1), ended: ended,
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
		retry := time.NewTimer(wait)
		select {
		case <-l.freed:
		case <-retry.C:
		case <-l.ended:
			retry.Stop()
			_ = accepted.Close()
			return nil, net.ErrClosed
		}
		retry.Stop()
	}
}

// admit adds a connection if there is room. Otherwise it closes another connection, if one
// may be closed, and returns after which time to try again.
func (l *listener) admit(c *conn) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full = len(l.open) >= l.max; !l.full {
		l.open = append(l.open, c)
		l.stats.open.Add(1)
		return 0, true
	}
	if victim := l.victim(time.Now()); victim != nil {
		victim.evict()
		l.stats.evicted.Add(1)
	}
	return stallTime, false
}

// victim returns the connection to close next, nil if none may be closed now.
func (l *listener) victim(now time.Time) *conn {
	var stalled *conn
	for _, c := range l.open {
		switch {
		case c.isEvicted || c.rendering > 0:
		case !c.hasSent.Load() && !c.hasInput():
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
	of      *listener
	hasSent atomic.Bool // the client has sent something

	// The listener's mutex guards these.
	progress  time.Time // when it was accepted, a request arrived, or a part of an answer was sent
	rendering int       // answers that are being rendered
	isEvicted bool
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.hasSent.Swap(true) {
		c.advance(0)
	}
	return n, err
}

// hasInput reports whether the client has sent something that is still unread: on a busy
// machine, Read may be late.
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
			c.hasSent.Store(true)
		}
	})
	return err == nil && n > 0
}

// advance records progress, and adds to the number of answers that are being rendered.
func (c *conn) advance(answers int) {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.progress = time.Now()
	c.rendering += answers
}

// shouldClose reports whether a connection waits for room, so that this one should be closed
// after its answer.
func (c *conn) shouldClose() bool {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	return c.of.full
}

// evict closes the connection to make room; the HTTP server then closes it too. Unread data
// is discarded, which frees the kernel's memory at once.
func (c *conn) evict() {
	c.isEvicted = true
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

// withConn adds a connection to the context of its requests, for connOf.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if own, ok := c.(*conn); ok {
		return context.WithValue(ctx, connKey{}, own)
	}
	return ctx
}

// connOf returns the connection of a request; nil if no listener counts it.
func connOf(ctx context.Context) *conn {
	c, _ := ctx.Value(connKey{}).(*conn)
	return c
}
