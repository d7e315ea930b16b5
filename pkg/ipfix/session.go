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
	// unreachableDelay is how long a host may take to answer that a UDP port is closed.
	unreachableDelay = 100 * time.Millisecond
	// maxUDPMessage is the largest message over UDP, in bytes. Every collector accepts it.
	maxUDPMessage = 1400
	// maxTCPMessage is the largest message over TCP, in bytes. Larger messages would not be
	// more efficient, and more records would be unconfirmed when a connection breaks.
	maxTCPMessage = 16 << 10
	// writeTimeout is how long a write waits before it checks whether the session has ended.
	writeTimeout = 100 * time.Millisecond
)

// session is a transport session (RFC 7011, 2): a TCP connection, or a UDP socket.
type session struct {
	conn           net.Conn
	raw            syscall.RawConn
	isUDP, isIPv6  bool
	closed         chan error // receives the error that ended the session
	sequence       uint32     // number of the next data record
	templatesSent  time.Time
	statisticsSent time.Time
	deadline       time.Time // for writing while the exporter is closing; zero if it is not
	message        []byte    // buffer for the next message
	maxMessage     int       // in bytes

	written     int64 // in bytes
	unconfirmed []sent
	confirmAt   int // length of unconfirmed at which confirmed messages are removed
}

// sent is a message of records that was sent and may not have arrived.
type sent struct {
	records uint32
	at      time.Time
	end     int64 // session.written after the message
}

func dial(ctx context.Context, c Collector) (*session, error) {
	// After the context ends, queued records may be sent until closeTimeout.
	live, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-live.Done():
		case <-time.After(closeTimeout):
			cancel()
		}
	})()
	d := net.Dialer{Timeout: 5 * time.Second, Control: wholeDatagrams}
	conn, err := d.DialContext(live, c.Network, c.address())
	if err != nil {
		return nil, err
	}
	s := &session{
		conn: conn, isUDP: c.Network == "udp", closed: make(chan error, 1),
		maxMessage: maxTCPMessage, confirmAt: 64,
	}
	if s.isUDP {
		s.maxMessage = maxUDPMessage
		s.isIPv6 = conn.RemoteAddr().(*net.UDPAddr).IP.To4() == nil
	}
	if s.raw, err = conn.(syscall.Conn).SyscallConn(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go s.listen()
	return s, nil
}

// wholeDatagrams forbids fragmentation of UDP datagrams.
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

// listen waits until the session ends. A collector sends no data.
func (s *session) listen() {
	var b [256]byte
	for {
		if _, err := s.conn.Read(b[:]); err != nil {
			s.closed <- fmt.Errorf("the session with the collector ended: %w", err)
			return
		}
	}
}

func (s *session) close() { _ = s.conn.Close() }

// limit returns the largest size of a message.
func (s *session) limit() int {
	if !s.isUDP {
		return s.maxMessage
	}
	level, name, headers := unix.IPPROTO_IP, unix.IP_MTU, 20+8
	if s.isIPv6 {
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
		mtu = 512 // RFC 7011, 10.3.3: if the path MTU is unknown
	}
	return min(s.maxMessage, mtu-headers)
}

// isTooLarge reports whether an error means that a message exceeds the path MTU. It lowers
// the limit for the next message.
func (s *session) isTooLarge(err error) bool {
	if !errors.Is(err, unix.EMSGSIZE) || s.maxMessage < 256 {
		return false
	}
	if now := s.limit(); now < len(s.message) {
		return true
	}
	s.maxMessage = len(s.message) * 3 / 4
	return true
}

// write writes a part of a message, for at most writeTimeout.
func (s *session) write(b []byte) (int, error) {
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	n, err := s.conn.Write(b)
	s.written += int64(n)
	return n, err
}

// addUnconfirmed adds a message of records that was written completely.
func (s *session) addUnconfirmed(records uint32, now time.Time) {
	if len(s.unconfirmed) >= s.confirmAt {
		s.removeConfirmed(now)
		s.confirmAt = max(2*len(s.unconfirmed), 64)
	}
	s.unconfirmed = append(s.unconfirmed, sent{records, now, s.written})
}

// removeConfirmed removes messages that have arrived.
func (s *session) removeConfirmed(now time.Time) {
	arrived := func(m sent) bool { return now.Sub(m.at) > unreachableDelay }
	if !s.isUDP {
		acknowledged := s.written - int64(s.unacknowledged())
		arrived = func(m sent) bool { return m.end <= acknowledged }
	}
	i := 0
	for i < len(s.unconfirmed) && arrived(s.unconfirmed[i]) {
		i++
	}
	s.unconfirmed = append(s.unconfirmed[:0], s.unconfirmed[i:]...)
}

// unacknowledged returns the number of bytes that the collector's kernel has not
// acknowledged. It also works after the connection broke.
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

// undelivered returns the number of records that may not have arrived, and when the first
// of them was sent.
func (s *session) undelivered(now time.Time) (n uint64, since time.Time) {
	s.removeConfirmed(now)
	for _, m := range s.unconfirmed {
		n += uint64(m.records)
	}
	if n > 0 {
		since = s.unconfirmed[0].at
	}
	return n, since
}
