package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The size of the segments of a request is small, so that the request passes a narrow link and
// the container's kernel learns nothing about the path from it.
const minChunk, maxChunk = 100, 536

// stream is a connection whose reads fail after a pause. It is a net.Conn for crypto/tls.
type stream struct {
	ctx   context.Context //nolint:containedctx // for the methods of net.Conn
	fd    int
	pause time.Duration // a read fails if nothing arrives for so long
	chunk int           // size of the segments that are written

	// enough is the number of bytes after which a read ends the stream; 0 for no limit.
	enough int

	first []byte // the first bytes that were read
	bytes int    // number of bytes that were read
	ended bool   // the server closed the connection
	// stalled is true if the server paused for too long.
	stalled bool
	closed  func(sent int) // is called with the number of packets that were sent
}

// open opens a stream that offers an MSS of at most mss. With writes, the caller writes at once.
func (in *Inward) open(ctx context.Context, t Target, mss int, writes bool, pause time.Duration) (*stream, Connection, error) {
	fd, c, err := dial(ctx, t, mss, writes)
	if err != nil || fd < 0 {
		return nil, c, err
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0) // one ACK for two segments
	return &stream{ctx: ctx, fd: fd, pause: pause, chunk: in.chunk, closed: func(sent int) { in.left -= sent }}, c, nil
}

func (s *stream) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		part, err := unix.Write(s.fd, b[:min(len(b), s.chunk)])
		if err != nil {
			return n, err
		}
		n, b = n+part, b[part:]
	}
	return n, nil
}

func (s *stream) Read(b []byte) (int, error) {
	if s.enough > 0 && s.bytes >= s.enough {
		return 0, io.EOF
	}
	deadline := time.Now().Add(s.pause)
	for {
		n, err := unix.Read(s.fd, b)
		switch {
		case n > 0:
			s.bytes += n
			s.first = append(s.first, b[:min(n, 16)]...)
			return n, nil
		case err == nil:
			s.ended = true
			return 0, io.EOF
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR):
			s.ended = true
			return 0, err
		}
		left := time.Until(deadline)
		if left <= 0 {
			s.stalled = true
			return 0, os.ErrDeadlineExceeded
		}
		if err := s.ctx.Err(); err != nil {
			return 0, err
		}
		fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, min(int(left.Milliseconds())+1, 100)); err != nil && !errors.Is(err, unix.EINTR) {
			return 0, err
		}
	}
}

// Close ends the connection by a RST.
func (s *stream) Close() error {
	s.closed(closeHard(s.fd))
	return nil
}

// LocalAddr and the other methods complete net.Conn; crypto/tls does not need them.
func (s *stream) LocalAddr() net.Addr              { return nil }
func (s *stream) RemoteAddr() net.Addr             { return nil }
func (s *stream) SetDeadline(time.Time) error      { return nil }
func (s *stream) SetReadDeadline(time.Time) error  { return nil }
func (s *stream) SetWriteDeadline(time.Time) error { return nil }

// segments returns the size of the largest segment that arrived, as far as the kernel knows,
// and the number of segments that arrived after a gap.
func (s *stream) segments() (largest, afterGap int) {
	i, err := unix.GetsockoptTCPInfo(s.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil || i.Data_segs_in == 0 {
		return 0, 0
	}
	// The largest is at least the average. The kernel's estimate begins with 536 at most, and
	// follows larger segments (tcp_measure_rcv_mss in net/ipv4/tcp_input.c).
	largest = int((i.Bytes_received + uint64(i.Data_segs_in) - 1) / uint64(i.Data_segs_in))
	if i.Rcv_mss > 536 {
		largest = int(i.Rcv_mss)
	}
	if i.Options&tcpOptTimestamps != 0 {
		largest += timestampsLength
	}
	return largest, int(i.Rcv_ooopack)
}
