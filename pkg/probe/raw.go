package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

var errSpent = errors.New("the probe has sent as many packets as it may")

// Raw sends single packets to a target, and receives the answers. Each packet has its own source
// port, which tells its answer from others. Requires CAP_NET_RAW.
type Raw struct {
	target Target
	source netip.Addr
	send   int // IPPROTO_RAW: packets with their IP header
	icmp   int
	tcp    int   // SYN-ACK and RST; -1 for UDP
	ports  []int // sockets that reserve a source port each; of UDP they receive the answers
	number []uint16
	used   int
	// Limit is the greatest number of packets, and Sent how many were sent. The kernel answers
	// each SYN-ACK of the target with a RST, which counts.
	Limit, Sent int
	// Timeout is the wait for answers.
	Timeout time.Duration
	// Forbidden is true if a rule of this namespace has dropped a packet.
	Forbidden bool
	buf       [2048]byte
}

// shot is a packet to send, and its answer.
type shot struct {
	hops, size int
	Answer
	rtt time.Duration

	index int
	sent  time.Time
}

// OpenRaw opens the sockets. source is the address of the packets.
func OpenRaw(t Target, source netip.Addr) (_ *Raw, err error) {
	r := &Raw{target: t, source: source, send: -1, icmp: -1, tcp: -1, Limit: MaxPackets, Timeout: defaultTimeout}
	defer func() {
		if err != nil {
			r.Close()
			err = fmt.Errorf("open raw sockets: %w", err)
		}
	}()
	family, icmp := unix.AF_INET, unix.IPPROTO_ICMP
	if !t.is4() {
		family, icmp = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	if r.send, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW); err != nil {
		return nil, err
	}
	if r.icmp, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, icmp); err != nil {
		return nil, err
	}
	if err := filterICMP(r.icmp, t.is4()); err != nil {
		return nil, err
	}
	if !t.UDP {
		if r.tcp, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP); err != nil {
			return nil, err
		}
		if err := r.ignoreMTU(r.tcp); err != nil {
			return nil, err
		}
		if err := filterTCP(r.tcp, t.Address.Port(), t.is4()); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Close closes the sockets.
func (r *Raw) Close() {
	for _, fd := range append([]int{r.send, r.icmp, r.tcp}, r.ports...) {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// ignoreMTU makes the kernel ignore "fragmentation needed" for a socket.
func (r *Raw) ignoreMTU(fd int) error {
	if r.target.is4() {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_INTERFACE)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_INTERFACE)
}

// reserve returns the index of a new source port. The socket is bound and not connected: the
// kernel answers a SYN-ACK for the port with RST.
func (r *Raw) reserve() (int, error) {
	if r.left() <= 0 {
		return 0, errSpent
	}
	kind := unix.SOCK_STREAM
	if r.target.UDP {
		kind = unix.SOCK_DGRAM
	}
	family := unix.AF_INET
	if !r.target.is4() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	r.ports = append(r.ports, fd)
	if err := r.ignoreMTU(fd); err != nil {
		return 0, err
	}
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(r.source, 0))); err != nil {
		return 0, fmt.Errorf("bind to %s: %w", r.source, err)
	}
	local, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	r.number = append(r.number, addrPort(local).Port())
	r.used++
	return r.used - 1, nil
}

// left returns the number of packets that may still be sent.
func (r *Raw) left() int { return r.Limit - r.Sent }

// fire sends packets, and waits until all are answered or the time is over.
func (r *Raw) fire(ctx context.Context, shots ...*shot) error {
	open := 0
	for _, s := range shots {
		var err error
		if s.index, err = r.reserve(); err != nil {
			return err
		}
		s.Answer, s.sent = Answer{}, time.Now()
		p := r.target.packet(r.source, r.number[s.index], s.hops, s.size)
		err = unix.Sendto(r.send, p, 0, sockaddr(netip.AddrPortFrom(r.target.Address.Addr(), 0)))
		switch {
		case err == nil:
			open++
			r.Sent++
		case errors.Is(err, unix.EMSGSIZE): // larger than the interface's MTU
		case errors.Is(err, unix.EPERM):
			r.Forbidden = true
		case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH): // no answer comes
		default:
			return fmt.Errorf("send to %s: %w", r.target.Address, err)
		}
	}
	for deadline := time.Now().Add(r.Timeout); open > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		// If this process did not run until after the deadline, the answers are there: they are
		// read once more.
		left := max(time.Until(deadline), 0)
		ready, err := r.poll(left)
		if err != nil {
			return err
		}
		for _, fd := range ready {
			open -= r.receive(fd, shots)
		}
		if left == 0 {
			return nil
		}
	}
	return nil
}

// poll waits for sockets with answers.
func (r *Raw) poll(wait time.Duration) (ready []int, err error) {
	fds := []unix.PollFd{{Fd: int32(r.icmp), Events: unix.POLLIN}}
	if r.tcp >= 0 {
		fds = append(fds, unix.PollFd{Fd: int32(r.tcp), Events: unix.POLLIN})
	} else {
		for _, fd := range r.ports {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	n, err := unix.Poll(fds, int(wait.Milliseconds())+1)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return nil, err
	}
	for _, f := range fds {
		if n > 0 && f.Revents != 0 {
			ready = append(ready, int(f.Fd))
		}
	}
	return ready, nil
}

// receive reads the packets that have arrived at a socket, and returns the number of packets
// of ours that were answered.
func (r *Raw) receive(fd int, shots []*shot) (answered int) {
	for {
		n, from, err := unix.Recvfrom(fd, r.buf[:], 0)
		if err != nil {
			return answered // EAGAIN: all were read; others concern a single datagram
		}
		b, peer := r.buf[:n], addrPort(from).Addr()
		var a Answer
		var port uint16
		ok := true
		switch fd {
		case r.icmp:
			if r.target.is4() { // raw sockets of IPv4 have the IP header
				_, _, b, ok = ipHeader(b)
			}
			if ok {
				a, port, ok = r.target.parseICMP(b, peer)
			}
		case r.tcp:
			if r.target.is4() {
				_, _, b, ok = ipHeader(b)
			}
			if ok = ok && peer == r.target.Address.Addr(); ok {
				a, port, ok = r.target.parseTCP(b)
			}
		default: // a datagram
			a, ok = Answer{Kind: Open, From: peer}, addrPort(from) == r.target.Address
			for i, p := range r.ports {
				if p == fd {
					port = r.number[i]
				}
			}
		}
		if !ok {
			continue
		}
		for _, s := range shots {
			if s.Kind == None && r.number[s.index] == port {
				s.Answer, s.rtt = a, time.Since(s.sent)
				answered++
				if a.Kind == Open && !r.target.UDP {
					r.Sent++ // the RST
				}
			}
		}
	}
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

func addrPort(s unix.Sockaddr) netip.AddrPort {
	switch s := s.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(s.Addr), uint16(s.Port))
	}
	return netip.AddrPort{}
}
