package session

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// end is the connection to the client or to the server.
type end struct {
	net.Conn
	raw syscall.RawConn // nil without a socket
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
	e := &end{Conn: c}
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			e.raw = raw
		}
	}
	return e
}

// Read reads without a time limit between messages, and with one within a header.
func (e *end) Read(b []byte) (int, error) {
	e.limit()
	return e.Conn.Read(b)
}

// Wait waits until Read does not block, if the connection has a socket.
func (e *end) Wait() error {
	if e.raw == nil {
		return nil
	}
	e.limit()
	return e.raw.Read(isReadable)
}

// isReadable reports whether a socket has data, has ended, or has an error. It leaves the
// error to Read: the kernel returns it once (sock_error).
func isReadable(fd uintptr) bool {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p[:], 0)
	return n != 0 || err != nil
}

// limit sets the deadline of a Read.
func (e *end) limit() {
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
}

// nextMessage says that another message begins, which has its own deadline.
func (e *end) nextMessage() { e.started = false }

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
