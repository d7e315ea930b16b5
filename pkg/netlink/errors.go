package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// The errors of incomplete answers.
var (
	// ErrInterrupted means that the objects changed during a dump, which may have missed
	// or repeated some (NLM_F_DUMP_INTR).
	ErrInterrupted = errors.New("the kernel's objects changed while they were listed")
	// ErrOverrun means that messages were lost because the socket's buffer was full
	// (ENOBUFS), or because one was longer than the buffer that it was read into.
	ErrOverrun = errors.New("netlink messages were lost")
	// ErrMalformed means that a netlink message is not well formed.
	ErrMalformed = errors.New("malformed netlink message")
	// ErrNoAnswer means that the kernel did not answer, or that the answer has no end.
	ErrNoAnswer = errors.New("the kernel did not answer")
)

// Error is an errno and the text that the kernel sent with it.
type Error struct {
	Errno unix.Errno
	Text  string
}

// Error returns the errno's text and the kernel's.
func (e *Error) Error() string { return e.Errno.Error() + " (" + e.Text + ")" }

// Unwrap returns the errno, for errors.Is.
func (e *Error) Unwrap() error { return e.Errno }

// Malformed returns an ErrMalformed with a reason.
func Malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// err returns the error in an NLMSG_ERROR or NLMSG_DONE message. nil is an
// acknowledgement, or the end of a dump that succeeded.
func (m *Message) err() error {
	if len(m.Body) < 4 {
		return Malformed("an error of %d bytes", len(m.Body))
	}
	code := int32(binary.NativeEndian.Uint32(m.Body))
	if code == 0 {
		return nil
	}
	errno := unix.Errno(-code)
	if text := m.extendedText(); text != "" {
		return &Error{errno, text}
	}
	return errno
}

// extendedText returns the text of an extended acknowledgement, if there is one. Its
// attributes follow the error code and, in an NLMSG_ERROR, the request. With NLM_F_CAPPED,
// only the header of the request is included (netlink_ack in net/netlink/af_netlink.c).
func (m *Message) extendedText() string {
	if m.Flags&unix.NLM_F_ACK_TLVS == 0 {
		return ""
	}
	skip := 4
	if m.Type == unix.NLMSG_ERROR {
		if len(m.Body) < unix.SizeofNlMsgerr {
			return ""
		}
		skip = unix.SizeofNlMsgerr
		if m.Flags&unix.NLM_F_CAPPED == 0 {
			n := binary.NativeEndian.Uint32(m.Body[4:])
			if uint64(n) > uint64(len(m.Body)) {
				return ""
			}
			skip = 4 + align(int(n))
		}
	}
	for typ, data := range All(After(m.Body, skip)) {
		if typ == unix.NLMSGERR_ATTR_MSG {
			return Text(data)
		}
	}
	return ""
}
