package session

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// end is the connection to the client or to the server.
type end struct {
	net.Conn
	// partial reports whether a header is read in part. It is nil while nothing is parsed.
	partial func() bool
	started bool // the deadline of the current header is set
	limited bool // a deadline is set
	// halfClosed: the other direction has ended.
	halfClosed atomic.Bool
	closing    sync.Once
}

func newEnd(c net.Conn) *end {
	if k, ok := c.(interface {
		SetKeepAliveConfig(cfg net.KeepAliveConfig) error
	}); ok {
		// An error means that the connection has ended, which Read will notice.
		_ = k.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: KeepAlive, Interval: KeepAlive, Count: keepAliveProbes})
	}
	return &end{Conn: c}
}

// Read reads without a time limit between messages, and with one within a header.
func (e *end) Read(b []byte) (int, error) {
	partial := e.partial != nil && e.partial()
	switch {
	case partial && !e.started:
		e.started, e.limited = true, true
		_ = e.SetReadDeadline(time.Now().Add(HeaderTimeout))
	case !partial && e.limited:
		e.limited = false
		_ = e.SetReadDeadline(time.Time{})
	}
	// After the deadline is removed, see setHalfClosed.
	if e.halfClosed.Load() {
		_ = e.SetReadDeadline(time.Now().Add(HalfClosedTimeout))
	}
	return e.Conn.Read(b)
}

// nextMessage says that another message begins, which has its own deadline.
func (e *end) nextMessage() { e.started = false }

// unread ends the deadlines of headers.
func (e *end) unread() { e.partial = nil }

// setHalfClosed limits the silence of e, also of a Read that waits already.
func (e *end) setHalfClosed() {
	e.halfClosed.Store(true)
	_ = e.SetReadDeadline(time.Now().Add(HalfClosedTimeout))
}

// closeWrite sends the end of the stream.
func (e *end) closeWrite() error {
	if c, ok := e.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	e.finish()
	return nil
}

// finish closes the connection.
func (e *end) finish() {
	e.closing.Do(func() { _ = e.Close() })
}

// reset closes the connection with a TCP reset.
func (e *end) reset() {
	e.closing.Do(func() {
		if c, ok := e.Conn.(interface{ SetLinger(sec int) error }); ok {
			_ = c.SetLinger(0)
		}
		_ = e.Close()
	})
}
