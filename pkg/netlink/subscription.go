package netlink

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Subscription receives the notifications of multicast groups. Only one goroutine may use
// it at a time, except for Join, Leave, Lost and Close.
type Subscription struct {
	file    *os.File // registers the socket with the runtime's poller
	raw     syscall.RawConn
	buf     []byte
	rest    []byte  // part of buf: messages that were not yielded yet
	message Message // reused for each message

	receive func(fd int, b []byte) (int, error) // recvfrom, replaced in tests
	once    func(fd uintptr) bool               // calls receive and sets n and err
	n       int
	err     error
}

// notificationBuffer is the size in bytes of the buffer for one notification.
const notificationBuffer = 64 << 10

// Subscribe opens a socket of a netlink protocol in the network namespace of the calling
// thread, and joins groups. buffer is the size in bytes of the kernel's queue of unread
// notifications, as the kernel counts: 1 to 2 KiB for a small one. Without CAP_NET_ADMIN
// in the initial user namespace it is at most net.core.rmem_max.
func Subscribe(protocol, buffer int, groups ...int) (_ *Subscription, err error) {
	s, err := open(protocol)
	if err != nil {
		return nil, err
	}
	x, err := newSubscription(s.fd)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, x.Close())
		}
	}()
	err = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer)
	if errors.Is(err, unix.EPERM) {
		err = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
	}
	if err != nil {
		return nil, os.NewSyscallError("setsockopt SO_RCVBUF", err)
	}
	for _, group := range groups {
		if err := x.Join(group); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// newSubscription takes ownership of a nonblocking file descriptor.
func newSubscription(fd int) (*Subscription, error) {
	s := &Subscription{file: os.NewFile(uintptr(fd), "netlink"), buf: make([]byte, notificationBuffer), receive: receive}
	raw, err := s.file.SyscallConn()
	s.raw = raw
	s.once = func(fd uintptr) bool {
		s.n, s.err = s.receive(int(fd), s.buf)
		return !errors.Is(s.err, unix.EAGAIN)
	}
	return s, err
}

// Close ends the subscription. A loop over its messages ends with os.ErrClosed.
func (s *Subscription) Close() error { return s.file.Close() }

// Join begins to receive the notifications of a group.
func (s *Subscription) Join(group int) error {
	return s.member(option{unix.NETLINK_ADD_MEMBERSHIP, "NETLINK_ADD_MEMBERSHIP"}, group)
}

// Leave stops receiving the notifications of a group.
func (s *Subscription) Leave(group int) error {
	return s.member(option{unix.NETLINK_DROP_MEMBERSHIP, "NETLINK_DROP_MEMBERSHIP"}, group)
}

func (s *Subscription) member(o option, group int) error {
	return s.control(func(fd int) error {
		return os.NewSyscallError(fmt.Sprintf("setsockopt %s of group %d", o.name, group), unix.SetsockoptInt(fd, unix.SOL_NETLINK, o.number, group))
	})
}

// control calls f with the file descriptor. It returns os.ErrClosed after Close.
func (s *Subscription) control(f func(fd int) error) error {
	var failed error
	if err := s.raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return os.ErrClosed // the runtime returns an internal error
	}
	return failed
}

// Messages yields each message as it arrives, in the same *Message, which is valid until
// the next one. It allocates nothing for a message.
//
// The loop ends with an error: the cause of the context's end; os.ErrClosed; ErrMalformed;
// or ErrOverrun if messages were lost. A later loop continues with the messages that
// follow. After ErrOverrun, either call Drain and then read the state that the messages
// are about, or read the state and continue: messages that fit the buffer are still there.
func (s *Subscription) Messages(ctx context.Context) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		if err := s.messages(ctx, yield); err != nil {
			yield(nil, err)
		}
	}
}

func (s *Subscription) messages(ctx context.Context, yield func(*Message, error) bool) error {
	if err := s.file.SetReadDeadline(time.Time{}); err != nil {
		return os.ErrClosed // the runtime returns an internal error
	}
	// A closed file is reported by the next read.
	stop := context.AfterFunc(ctx, func() { _ = s.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		if more, err := s.deliver(yield); err != nil || !more {
			return err
		}
		err := s.raw.Read(s.once)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, os.ErrDeadlineExceeded): // set by an earlier loop's context
		case err != nil:
			return os.ErrClosed
		case s.err != nil:
			return overrun(s.err)
		case s.n > len(s.buf):
			return cutShort(s.n, len(s.buf))
		default:
			s.rest = s.buf[:s.n]
		}
	}
}

// Waiting yields each message that has arrived, in the same *Message, which is valid until
// the next one. It does not wait for more messages. It has the same errors as
// Messages.
func (s *Subscription) Waiting() iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		if err := s.waiting(yield); err != nil {
			yield(nil, err)
		}
	}
}

func (s *Subscription) waiting(yield func(*Message, error) bool) error {
	for {
		if more, err := s.deliver(yield); err != nil || !more {
			return err
		}
		var n int
		err := s.control(func(fd int) (err error) {
			n, err = s.receive(fd, s.buf)
			return err
		})
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil:
			return overrun(err)
		case n > len(s.buf):
			return cutShort(n, len(s.buf))
		}
		s.rest = s.buf[:n]
	}
}

// deliver yields the messages in rest. It returns false if the loop of the caller has ended.
func (s *Subscription) deliver(yield func(*Message, error) bool) (more bool, err error) {
	for len(s.rest) > 0 {
		if s.rest, err = s.message.cut(s.rest); err != nil {
			return false, err
		}
		if !yield(&s.message, nil) {
			return false, nil
		}
	}
	return true, nil
}

// Drain discards all waiting messages. A socket whose buffer was full accepts no messages
// until it is empty, and reports only the first loss (netlink_overrun and netlink_rcv_wake
// in net/netlink/af_netlink.c). So a caller that reads state before Drain may miss changes
// without a notification.
func (s *Subscription) Drain() error {
	s.rest = nil
	return s.control(func(fd int) error {
		for {
			switch _, err := s.receive(fd, s.buf); {
			case errors.Is(err, unix.EAGAIN):
				return nil
			case err != nil && !errors.Is(err, unix.ENOBUFS):
				return err
			}
		}
	})
}

// Lost returns the number of messages that the kernel dropped since the Subscription was
// opened (SK_MEMINFO_DROPS). It wraps around.
func (s *Subscription) Lost() (lost uint32, err error) {
	err = s.control(func(fd int) (err error) {
		lost, err = drops(fd)
		return err
	})
	return lost, err
}

// drops reads SO_MEMINFO, for which golang.org/x/sys has no function.
func drops(fd int) (uint32, error) {
	const vars, index = 9, 8 // SK_MEMINFO_VARS and _DROPS of uapi/linux/sock_diag.h
	var all [vars]uint32
	size := uint32(unsafe.Sizeof(all))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, os.NewSyscallError("getsockopt SO_MEMINFO", errno)
	}
	return all[index], nil
}
