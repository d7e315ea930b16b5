package ipfix

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// settle is how long the word of a host that nobody listens takes at most.
	settle = 100 * time.Millisecond
	// widest is the largest message over UDP, whatever the path: what every collector
	// has room for.
	widest = 1400
	// tcpMessage is that over TCP. A larger one would save nothing, and be in doubt
	// as a whole when the connection breaks.
	tcpMessage = 16 << 10
	// turn is how long a write waits before it looks up.
	turn = 100 * time.Millisecond
)

// session is a transport session (RFC 7011, 2): a TCP connection, or a UDP socket.
type session struct {
	conn      net.Conn
	raw       syscall.RawConn
	udp, six  bool
	gone      chan error // the collector is
	sequence  uint32     // of the next data record
	described time.Time  // when templates were sent
	told      time.Time  // when statistics were
	last      time.Time  // after which nothing is written any more
	message   []byte     // scratch
	most      int        // bytes of a message, where the kernel was wrong

	written int64
	doubt   []sent
	certain int // the number in doubt at which to look
}

// sent is a message that may not have arrived.
type sent struct {
	records uint32
	at      time.Time
	end     int64 // in bytes of the session
}

func dial(ctx context.Context, c Collector) (*session, error) {
	// Who ends may still have something to send.
	live, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-live.Done():
		case <-time.After(grace):
			cancel()
		}
	})()
	d := net.Dialer{Timeout: 5 * time.Second, Control: wholeDatagrams}
	conn, err := d.DialContext(live, c.Network, c.address())
	if err != nil {
		return nil, err
	}
	s := &session{
		conn: conn, udp: c.Network == "udp", gone: make(chan error, 1),
		most: tcpMessage, certain: 64,
	}
	if s.udp {
		s.most = widest
		s.six = conn.RemoteAddr().(*net.UDPAddr).IP.To4() == nil
	}
	if s.raw, err = conn.(syscall.Conn).SyscallConn(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go s.listen()
	return s, nil
}

// wholeDatagrams forbids fragments. Nothing is to be said against them over TCP.
func wholeDatagrams(network, _ string, c syscall.RawConn) (err error) {
	option := func(level, name, value int) {
		if cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, name, value) }); cerr != nil {
			err = cerr
		}
	}
	switch {
	case strings.HasPrefix(network, "tcp"):
	case strings.HasSuffix(network, "6"):
		option(unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO)
	default:
		option(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	}
	return err
}

// listen waits for the end: a collector says nothing else.
func (s *session) listen() {
	var b [256]byte
	for {
		if _, err := s.conn.Read(b[:]); err != nil {
			s.gone <- fmt.Errorf("the collector is gone: %w", err)
			return
		}
	}
}

func (s *session) close() { _ = s.conn.Close() }

// limit is how large a message may be.
func (s *session) limit() int {
	if !s.udp {
		return s.most
	}
	level, name, headers := unix.IPPROTO_IP, unix.IP_MTU, 20+8
	if s.six {
		level, name, headers = unix.IPPROTO_IPV6, unix.IPV6_MTU, 40+8
	}
	mtu := 0
	err := s.raw.Control(func(fd uintptr) {
		var err error
		if mtu, err = unix.GetsockoptInt(int(fd), level, name); err != nil {
			mtu = 0
		}
	})
	if err != nil || mtu == 0 {
		mtu = 512 // RFC 7011, 10.3.3: where nobody knows
	}
	return min(s.most, mtu-headers)
}

// narrower reports whether an error is that a message was too large for the path; the
// next one is not.
func (s *session) narrower(err error) bool {
	if !errors.Is(err, unix.EMSGSIZE) || s.most < 256 {
		return false
	}
	if now := s.limit(); now < len(s.message) {
		return true
	}
	s.most = len(s.message) * 3 / 4
	return true
}

// write waits for a turn at most.
func (s *session) write(b []byte) (int, error) {
	if err := s.conn.SetWriteDeadline(time.Now().Add(turn)); err != nil {
		return 0, err
	}
	n, err := s.conn.Write(b)
	s.written += int64(n)
	return n, err
}

// wrote notes a message with records of events that was written as a whole.
func (s *session) wrote(records uint32, now time.Time) {
	if len(s.doubt) >= s.certain {
		s.settled(now)
		s.certain = max(2*len(s.doubt), 64)
	}
	s.doubt = append(s.doubt, sent{records, now, s.written})
}

// settled forgets messages that have arrived.
func (s *session) settled(now time.Time) {
	arrived := func(m sent) bool { return now.Sub(m.at) > settle }
	if !s.udp {
		acknowledged := s.written - int64(s.unacknowledged())
		arrived = func(m sent) bool { return m.end <= acknowledged }
	}
	i := 0
	for i < len(s.doubt) && arrived(s.doubt[i]) {
		i++
	}
	s.doubt = append(s.doubt[:0], s.doubt[i:]...)
}

// unacknowledged is the number of bytes that the collector's kernel has not
// acknowledged, also after the connection broke.
func (s *session) unacknowledged() (n int) {
	err := s.raw.Control(func(fd uintptr) {
		var err error
		if n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err != nil {
			n = 0
		}
	})
	if err != nil {
		return 0
	}
	return n
}

// doubtful is the number of records that may not have arrived, and when the first of
// them was sent.
func (s *session) doubtful(now time.Time) (n uint64, since time.Time) {
	s.settled(now)
	for _, m := range s.doubt {
		n += uint64(m.records)
	}
	if n > 0 {
		since = s.doubt[0].at
	}
	return n, since
}
