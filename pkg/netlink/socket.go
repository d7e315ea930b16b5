package netlink

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is the Transport to the kernel.
type socket struct {
	fd       int
	protocol int
}

// open opens a socket in the network namespace of the calling thread.
func open(protocol int) (*socket, error) {
	const kind = unix.SOCK_RAW | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fd, err := unix.Socket(unix.AF_NETLINK, kind, protocol)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &socket{fd: fd, protocol: protocol}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), s.Close())
	}
	options := []option{
		{unix.NETLINK_CAP_ACK, "NETLINK_CAP_ACK"}, // an error need not carry the request back, which may be megabytes
		{unix.NETLINK_EXT_ACK, "NETLINK_EXT_ACK"}, // the kernel explains errors in text
	}
	if protocol == unix.NETLINK_ROUTE {
		options = append(options, option{unix.NETLINK_GET_STRICT_CHK, "NETLINK_GET_STRICT_CHK"}) // dumps are filtered in the kernel
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, o.number, 1); err != nil {
			return nil, errors.Join(os.NewSyscallError("setsockopt "+o.name, err), s.Close())
		}
	}
	return s, nil
}

type option struct {
	number int
	name   string
}

// Close closes the socket.
func (s *socket) Close() error { return os.NewSyscallError("close", unix.Close(s.fd)) }

// largeRequest is the size in bytes above which a request may not fit a socket's send
// buffer (net.core.wmem_default, 208 KiB including the kernel's overhead).
const largeRequest = 100 << 10

// Send uses write(2), because sendto(2) would allocate an address.
func (s *socket) Send(b []byte) error {
	// The kernel copies a request into one buffer, which must fit the socket's.
	// SO_SNDBUFFORCE requires CAP_NET_ADMIN, and so do requests of this size.
	if len(b) > largeRequest {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*len(b)); err != nil {
			return os.NewSyscallError("setsockopt SO_SNDBUFFORCE", err)
		}
	}
	for {
		_, err := unix.Write(s.fd, b)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("write", err)
		}
	}
}

// Receive reads one datagram.
func (s *socket) Receive(b []byte) (int, error) { return receive(s.fd, b) }

// receive calls recvfrom(2) without the sender's address, which would be allocated.
func receive(fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, unix.EAGAIN
		default:
			return 0, os.NewSyscallError("recvfrom", errno)
		}
	}
}

func (s *socket) port() (uint32, error) {
	address, err := unix.Getsockname(s.fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	a, ok := address.(*unix.SockaddrNetlink)
	if !ok {
		return 0, os.NewSyscallError("getsockname", unix.EAFNOSUPPORT)
	}
	return a.Pid, nil
}

// replace opens a new socket in place of s, if the calling thread is in its network
// namespace.
func (s *socket) replace() (replaced bool, err error) {
	fresh, err := open(s.protocol)
	if err != nil {
		return false, err
	}
	same, err := sameNamespace(fresh.fd, s.fd)
	if err != nil || !same {
		return false, errors.Join(err, fresh.Close())
	}
	old := *s
	s.fd = fresh.fd
	return true, old.Close()
}

// sameNamespace compares the network namespaces of two sockets. Requires Linux 5.14
// (SO_NETNS_COOKIE).
func sameNamespace(a, b int) (bool, error) {
	x, err := unix.GetsockoptUint64(a, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return false, os.NewSyscallError("getsockopt SO_NETNS_COOKIE", err)
	}
	y, err := unix.GetsockoptUint64(b, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return x == y, os.NewSyscallError("getsockopt SO_NETNS_COOKIE", err)
}
