package main

import (
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Number of flows in a turn. With one destination, masqueraded flows share its 64,000 ports; with
// more flows the turn would measure the search for a free port.
const (
	tcpFlows = 2000
	udpFlows = 5000
	rawFlows = 5000
)

// opener begins flows from a container to its server.
type opener struct {
	what  string
	count int
	open  func() error
	clear func() error // clears what remains at the server
	// frames has no socket cost: a real connection is never as cheap.
	frames bool
}

// openers opens the sockets at both ends.
func (t *traffic) openers() (all []opener, done func(), err error) {
	var open []int
	done = func() {
		for _, fd := range open {
			_ = unix.Close(fd)
		}
	}
	defer func() {
		if err != nil {
			done()
		}
	}()
	tcp, udp := netip.AddrPortFrom(far4, 80), netip.AddrPortFrom(far4, 53)
	listener, err := socketIn(t.far, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, tcp, netip.AddrPort{})
	if err != nil {
		return nil, nil, err
	}
	open = append(open, listener)
	if err := unix.Listen(listener, 2*tcpFlows); err != nil {
		return nil, nil, err
	}
	sink, err := socketIn(t.far, unix.SOCK_DGRAM, udp, netip.AddrPort{})
	if err != nil {
		return nil, nil, err
	}
	open = append(open, sink)
	frames, mac, err := frameSocket(t.pod.pod)
	if err != nil {
		return nil, nil, err
	}
	open = append(open, frames)
	gateway, gwErr := t.pod.gatewayMAC()
	src, srcErr := source(t.pod)
	if err := errors.Join(dropReceived(sink), gwErr, srcErr); err != nil {
		return nil, nil, err
	}
	var datagrams [][]byte
	for i := range rawFlows {
		datagrams = append(datagrams, frame(mac, gateway, netip.AddrPortFrom(src, uint16(2000+i)), udp))
	}
	volley := volleyOf(frames, datagrams)
	nothing := func() error { return nil }
	return []opener{
		{"TCP", tcpFlows, func() error { return dialTCP(sockaddr4(tcp), tcpFlows) }, func() error { return drain(listener) }, false},
		{"UDP", udpFlows, func() error { return sendUDP(sockaddr4(udp), udpFlows) }, nothing, false},
		{"UDP frames", rawFlows, volley.fire, nothing, true},
	}, done, nil
}

func sockaddr4(a netip.AddrPort) *unix.RawSockaddrInet4 {
	sa := &unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: a.Addr().As4()}
	port := (*[2]byte)(unsafe.Pointer(&sa.Port))
	port[0], port[1] = byte(a.Port()>>8), byte(a.Port())
	return sa
}

// raw makes a nonblocking system call without notifying Go's scheduler, which would take part in
// the measurement. Pointers among the arguments stay valid, as for the functions of package
// syscall.
//
//go:uintptrescapes
func raw(nr, a, b, c, d, e uintptr) (uintptr, error) {
	r, _, errno := unix.RawSyscall6(nr, a, b, c, d, e, 0)
	if errno != 0 {
		return 0, errno
	}
	return r, nil
}

// dialTCP opens connections in the thread's namespace and closes each at once. The server's kernel
// answers, so the server does not take part. A reset leaves no TIME_WAIT socket, which would use
// up the ports.
func dialTCP(to *unix.RawSockaddrInet4, count int) error {
	linger := unix.Linger{Onoff: 1}
	for range count {
		fd, err := raw(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0, 0, 0)
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		if _, err = raw(unix.SYS_SETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_LINGER, uintptr(unsafe.Pointer(&linger)), unsafe.Sizeof(linger)); err == nil {
			_, err = raw(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(to)), unsafe.Sizeof(*to), 0, 0)
		}
		if _, closed := raw(unix.SYS_CLOSE, fd, 0, 0, 0, 0); err != nil || closed != nil {
			return fmt.Errorf("connect: %w", errors.Join(err, closed))
		}
	}
	return nil
}

// sendUDP sends one datagram from each of many sockets.
func sendUDP(to *unix.RawSockaddrInet4, count int) error {
	var payload [18]byte
	for range count {
		fd, err := raw(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0, 0, 0)
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		if _, err = raw(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(to)), unsafe.Sizeof(*to), 0, 0); err == nil {
			_, err = raw(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(&payload)), unsafe.Sizeof(payload), 0, 0)
		}
		if _, closed := raw(unix.SYS_CLOSE, fd, 0, 0, 0, 0); err != nil || closed != nil {
			return fmt.Errorf("send: %w", errors.Join(err, closed))
		}
	}
	return nil
}

// drain accepts and closes the connections that have arrived at a listener.
func drain(listener int) error {
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.ECONNABORTED):
		case err != nil:
			return fmt.Errorf("accept: %w", err)
		default:
			if err := unix.Close(fd); err != nil {
				return err
			}
		}
	}
}
