package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// State is the result of a connection attempt.
type State string

// Results of connection attempts.
const (
	Connected  State = "connected"  // a TCP connection, or an answer to a datagram
	Refused    State = "refused"    // by RST or ICMP "port unreachable" of the target
	Rejected   State = "rejected"   // by another ICMP "destination unreachable"
	NoRoute    State = "no route"   // the kernel of this namespace has no route
	Forbidden  State = "forbidden"  // a rule of this namespace does not let the packet out
	Unanswered State = "unanswered" // no answer came in time
)

// Connection describes a connection attempt.
type Connection struct {
	State State
	// By is the sender of the ICMP error of a connection that was refused or rejected; invalid
	// without one. Error is the kernel's word for it: "connection refused".
	By    netip.Addr
	Error string
	// Local is the address and port of the socket.
	Local netip.AddrPort
	// Duration is the time until the result.
	Duration time.Duration
	// OfferedMSS is the MSS that the namespace's kernel offered, in bytes. SendMSS is how
	// large its segments can be: the MSS of the SYN-ACK that arrived here, or PathMTU without
	// headers if that is smaller. Both are 0 for UDP.
	OfferedMSS, SendMSS int
	// PathMTU is the MTU of the path that the namespace's kernel believes in.
	PathMTU int
	RTT     time.Duration
	// Retransmits is the number of segments that were sent again.
	Retransmits int

	sent int // number of packets that were sent
}

// connectTimeout is the wait for the answer to a connection attempt: the kernel sends a second
// SYN after a second.
const connectTimeout = 2500 * time.Millisecond

// Connect opens a connection to the target and closes it. To a UDP target it sends a datagram
// and waits for an answer.
func Connect(ctx context.Context, t Target) (Connection, error) {
	fd, c, err := dial(ctx, t, 0, false)
	if err == nil && fd >= 0 {
		c.sent = closeHard(fd)
	}
	return c, err
}

// closeHard closes a TCP socket by a RST, so that no packets follow. It returns the number of
// packets that the socket has sent.
func closeHard(fd int) (sent int) {
	sent = 1 // a datagram, or the RST
	if i, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
		sent += int(i.Segs_out)
	}
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Close(fd)
	return sent
}

// dial opens a connection that offers an MSS of at most mss bytes, or the kernel's choice if
// mss is 0. With writes, the caller writes at once: the kernel's acknowledgement of the SYN-ACK
// waits for that. dial returns fd -1 without a connection.
func dial(ctx context.Context, t Target, mss int, writes bool) (_ int, c Connection, err error) {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	level, recvErr := unix.IPPROTO_IP, unix.IP_RECVERR
	if !t.is4() {
		family, level, recvErr = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	}
	if t.UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, c, fmt.Errorf("open a socket: %w", err)
	}
	defer func() {
		if err != nil || c.State != Connected {
			_ = unix.Close(fd)
		}
	}()
	// The error queue has the address of the router that sent an ICMP error.
	if err := unix.SetsockoptInt(fd, level, recvErr, 1); err != nil {
		return -1, c, fmt.Errorf("set IP_RECVERR: %w", err)
	}
	if mss != 0 && !t.UDP {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, mss); err != nil {
			return -1, c, fmt.Errorf("set TCP_MAXSEG to %d: %w", mss, err)
		}
		// A small window keeps the server from sending many small segments at once. The kernel
		// does not go below about 1100 bytes.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, 3*mss); err != nil {
			return -1, c, fmt.Errorf("set TCP_WINDOW_CLAMP: %w", err)
		}
		// With a small buffer, data that was not read closes the window.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, max(4096, 6*mss)); err != nil {
			return -1, c, fmt.Errorf("set SO_RCVBUF: %w", err)
		}
	}
	if writes { // see tcp_rcv_synsent_state_process in net/ipv4/tcp_input.c
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0); err != nil {
			return -1, c, fmt.Errorf("set TCP_QUICKACK: %w", err)
		}
	}
	start := time.Now()
	cause := unix.Connect(fd, sockaddr(t.Address))
	if local, err := unix.Getsockname(fd); err == nil {
		c.Local = addrPort(local)
	}
	if t.UDP && cause == nil {
		_, cause = unix.Write(fd, greeting(t.Address.Port()))
	}
	if cause == nil || errors.Is(cause, unix.EINPROGRESS) {
		cause, err = await(ctx, fd, t.UDP, start.Add(connectTimeout))
		if err != nil {
			return -1, c, err
		}
	}
	c.Duration = time.Since(start)
	if cause == nil {
		c.State = Connected
		if !t.UDP {
			c.read(fd)
		} else {
			c.RTT = c.Duration
		}
		return fd, c, nil
	}
	c.Error = cause.Error()
	c.By = offender(fd)
	switch {
	case errors.Is(cause, os.ErrDeadlineExceeded):
		c.State, c.Error = Unanswered, ""
	case errors.Is(cause, unix.ECONNREFUSED), errors.Is(cause, unix.ECONNRESET):
		c.State = Refused
	case c.By.IsValid():
		c.State = Rejected
	case errors.Is(cause, unix.ENETUNREACH), errors.Is(cause, unix.EHOSTUNREACH), errors.Is(cause, unix.EADDRNOTAVAIL), errors.Is(cause, unix.EINVAL), errors.Is(cause, unix.EACCES):
		c.State = NoRoute
	case errors.Is(cause, unix.EPERM):
		c.State = Forbidden
	default:
		return -1, c, fmt.Errorf("connect to %s: %w", t.Address, cause)
	}
	return -1, c, nil
}

// await waits for the result of a non-blocking connect, or for a datagram. cause is why there
// is no connection.
func await(ctx context.Context, fd int, udp bool, deadline time.Time) (cause, err error) {
	events := int16(unix.POLLOUT)
	if udp {
		events = unix.POLLIN
	}
	for {
		left := max(time.Until(deadline), 0)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
		// A short wait notices the end of the context.
		n, err := unix.Poll(fds, min(int(left.Milliseconds())+1, 100))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return nil, err
		}
		if n <= 0 && left == 0 {
			return os.ErrDeadlineExceeded, nil
		}
		if n <= 0 {
			continue
		}
		number, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			return nil, err
		}
		if number != 0 {
			return unix.Errno(number), nil
		}
		if fds[0].Revents&events != 0 {
			return nil, nil
		}
	}
}

// read reads TCP_INFO of a connection.
func (c *Connection) read(fd int) {
	i, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return
	}
	c.OfferedMSS, c.SendMSS, c.PathMTU = int(i.Advmss), int(i.Snd_mss), int(i.Pmtu)
	if i.Options&tcpOptTimestamps != 0 {
		c.SendMSS += timestampsLength
		c.OfferedMSS += timestampsLength
	}
	c.RTT, c.Retransmits = time.Duration(i.Rtt)*time.Microsecond, int(i.Total_retrans)
}

// Of linux/tcp.h and include/net/tcp.h. The option is in each segment: the kernel subtracts it
// from tcpi_snd_mss, and from tcpi_advmss after the handshake (tcp_finish_connect).
const (
	tcpOptTimestamps = 1
	timestampsLength = 12
)

// offender returns the sender of an ICMP error in a socket's error queue.
func offender(fd int) netip.Addr {
	data, control := make([]byte, 64), make([]byte, 512)
	for {
		_, n, _, _, err := unix.Recvmsg(fd, data, control, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil {
			return netip.Addr{}
		}
		all, err := unix.ParseSocketControlMessage(control[:n])
		if err != nil {
			return netip.Addr{}
		}
		for _, m := range all {
			size := int(unsafe.Sizeof(unix.SockExtendedErr{}))
			if len(m.Data) < size+unix.SizeofSockaddrInet4 {
				continue
			}
			origin, address := m.Data[4], m.Data[size:]
			switch {
			case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR && origin == unix.SO_EE_ORIGIN_ICMP:
				return netip.AddrFrom4([4]byte(address[4:8]))
			case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR && origin == unix.SO_EE_ORIGIN_ICMP6 && len(address) >= 24:
				return netip.AddrFrom16([16]byte(address[8:24]))
			}
		}
	}
}

// greeting returns the datagram for a port: for DNS the query for the name servers of the
// root, which each DNS server answers, and for others eight zeros.
func greeting(port uint16) []byte {
	if port == 53 {
		return []byte(strings.Join([]string{
			"\x6d\x73\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", // ID, recursion desired, 1 question
			"\x00\x00\x02\x00\x01",                             // ".", NS, IN
		}, ""))
	}
	return make([]byte, 8)
}
