package main

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr  unix.Msghdr
	sent uint32
	_    [4]byte
}

// volley is a number of messages that few system calls send.
type volley struct {
	fd       int
	messages []mmsghdr
	keep     []unix.Iovec
}

// volleyOf makes a volley of messages for a connected socket.
func volleyOf(fd int, messages [][]byte) *volley {
	v := &volley{fd, make([]mmsghdr, len(messages)), make([]unix.Iovec, len(messages))}
	for i, m := range messages {
		v.keep[i].Base = &m[0]
		v.keep[i].SetLen(len(m))
		v.messages[i].hdr.Iov = &v.keep[i]
		v.messages[i].hdr.SetIovlen(1)
	}
	return v
}

// fire sends every message once. It does not notify Go's scheduler: the socket accepts all messages
// without blocking.
func (v *volley) fire() error {
	for rest := v.messages; len(rest) > 0; {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(v.fd), uintptr(unsafe.Pointer(&rest[0])), uintptr(min(len(rest), 1024)), 0, 0, 0)
		switch {
		case errors.Is(errno, unix.EINTR):
		case errno != 0:
			return fmt.Errorf("sendmmsg: %w", errno)
		default:
			rest = rest[n:]
		}
	}
	return nil
}
