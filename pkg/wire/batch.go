package wire

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// message is one request to the kernel, and what became of it.
type message struct {
	*nl.NetlinkRequest
	what  string     // what it tries to do, to be named when it fails
	allow unix.Errno // an error that is none

	reply []byte // what followed the netlink header of the answer, if one came
	err   error  // errno, with the kernel's words where it had any
}

func newMessage(kind, flags int, what string, data ...nl.NetlinkRequestData) *message {
	m := &message{NetlinkRequest: nl.NewNetlinkRequest(kind, flags), what: what}
	for _, d := range data {
		m.AddData(d)
	}
	return m
}

// failed returns the error of the message as a person reads it, or nil.
func (m *message) failed() error {
	if m.err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", m.what, m.err)
}

// firstFailed returns the error of the first message that has one.
func firstFailed(ms []*message) error {
	for _, m := range ms {
		if m.err != nil {
			return m.failed()
		}
	}
	return nil
}

// kernelError is an errno and the text that the kernel sent along.
type kernelError struct {
	unix.Errno
	text string
}

func (e kernelError) Error() string { return e.Errno.Error() + " (" + e.text + ")" }
func (e kernelError) Unwrap() error { return e.Errno }

// conn is an rtnetlink socket. It stays in the namespace it was opened in,
// whatever thread uses it.
type conn struct {
	mu  sync.Mutex
	fd  int
	buf []byte
}

// dial opens a socket in the network namespace of the calling thread.
func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open an rtnetlink socket: %w", err)
	}
	for _, option := range []int{
		unix.NETLINK_EXT_ACK,        // say in words what is wrong
		unix.NETLINK_CAP_ACK,        // do not send the request back
		unix.NETLINK_GET_STRICT_CHK, // filter dumps in the kernel
	} {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, option, 1); err != nil {
			_ = unix.Close(fd)
			return nil, fmt.Errorf("set netlink socket option %d: %w", option, err)
		}
	}
	// A dump's message grows to 32 KiB at most (netlink_dump in af_netlink.c).
	return &conn{fd: fd, buf: make([]byte, 32<<10)}, nil
}

// close releases the socket. There is nothing to be done where that fails.
func (c *conn) close() { _ = unix.Close(c.fd) }

// batchMax keeps what the kernel answers to one batch within the receive buffer
// (net.core.rmem_default, 208 KiB): an answer about an interface takes 4 KiB.
const batchMax = 32

// exchange sends all messages, up to batchMax in one sendmsg, and collects what
// the kernel says to each. It returns the first error in the order of the
// messages.
//
// The kernel goes through all messages before sendmsg returns, also past those
// that fail, and a signal does not stop it half way: a process that is killed
// has done all of a batch or nothing.
func (c *conn) exchange(ms ...*message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for batch := range slices.Chunk(ms, batchMax) {
		if err := c.batch(batch); err != nil {
			for _, m := range batch {
				m.err = cmp.Or(m.err, err)
			}
		}
	}
	return firstFailed(ms)
}

// batch returns an error where the socket fails; what the kernel says to a
// message is in the message.
func (c *conn) batch(ms []*message) error {
	// Errors come for every message, asked for or not (netlink_rcv_skb in
	// af_netlink.c), so only the last asks for an acknowledgement: the end.
	last := ms[len(ms)-1]
	last.Flags |= unix.NLM_F_ACK
	var out []byte
	for _, m := range ms {
		out = append(out, m.Serialize()...) // a multiple of 4 bytes, as every attribute is
	}
	if err := c.write(out); err != nil {
		return err
	}
	for {
		in, err := c.read()
		if err != nil {
			return err
		}
		for h, body := range in.messages {
			i := slices.IndexFunc(ms, func(m *message) bool { return m.Seq == h.Seq })
			if i < 0 {
				continue // left over from a batch that failed
			}
			m := ms[i]
			if h.Type != unix.NLMSG_ERROR {
				m.reply = slices.Clone(body)
				continue
			}
			if err := errorOf(h, body); m.allow == 0 || !errors.Is(err, m.allow) {
				m.err = err
			}
			if m == last {
				return nil
			}
		}
	}
}

// dump sends a request for many answers and hands each of them to a function.
func (c *conn) dump(m *message, each func(body []byte)) error {
	_, err := c.dumpWhile(m, func(body []byte) bool { each(body); return true })
	return err
}

// dumpWhile is dump that ends with the first answer for which the function returns
// false. It reports whether that was all: where it was not, the rest stays in the
// socket, which then is good for nothing else.
func (c *conn) dumpWhile(m *message, each func(body []byte) bool) (whole bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.Flags |= unix.NLM_F_DUMP
	if err := c.write(m.Serialize()); err != nil {
		return false, fmt.Errorf("%s: %w", m.what, err)
	}
	enough := false
	for {
		in, err := c.read()
		if err != nil {
			return false, fmt.Errorf("%s: %w", m.what, err)
		}
		for h, body := range in.messages {
			switch {
			case h.Seq != m.Seq:
			case h.Type == unix.NLMSG_ERROR:
				m.err = errorOf(h, body)
				return true, m.failed()
			case h.Type == unix.NLMSG_DONE:
				if errno := unix.Errno(-int32(number(body))); errno != 0 {
					m.err = errno
				}
				return true, m.failed()
			case !enough:
				enough = !each(body)
			}
		}
		if enough {
			return false, nil
		}
	}
}

func (c *conn) write(b []byte) error {
	for {
		err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// datagram is what one recvmsg brought.
type datagram []byte

// read does not block: the answers are in the queue when sendmsg returns, and
// the rest of a dump is made by the reading itself.
func (c *conn) read() (datagram, error) {
	for {
		n, _, err := unix.Recvfrom(c.fd, c.buf, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, fmt.Errorf("read the kernel's answer: %w", err)
		case n > len(c.buf):
			return nil, fmt.Errorf("the kernel's answer has %d bytes, more than %d", n, len(c.buf))
		default:
			return c.buf[:n], nil
		}
	}
}

// messages walks the netlink messages of a datagram.
func (d datagram) messages(yield func(unix.NlMsghdr, []byte) bool) {
	for len(d) >= unix.SizeofNlMsghdr {
		h := unix.NlMsghdr{
			Len:   binary.NativeEndian.Uint32(d),
			Type:  binary.NativeEndian.Uint16(d[4:]),
			Flags: binary.NativeEndian.Uint16(d[6:]),
			Seq:   binary.NativeEndian.Uint32(d[8:]),
		}
		n := int(h.Len)
		if n < unix.SizeofNlMsghdr || n > len(d) {
			return
		}
		if !yield(h, d[unix.SizeofNlMsghdr:n]) {
			return
		}
		d = d[min(len(d), (n+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
}

// errorOf reads an NLMSG_ERROR: nil for an acknowledgement.
func errorOf(h unix.NlMsghdr, body []byte) error {
	errno := unix.Errno(-int32(number(body)))
	if errno == 0 {
		return nil
	}
	skip := unix.SizeofNlMsgerr
	if h.Flags&unix.NLM_F_CAPPED == 0 { // the request follows
		skip = 4 + int(number(after(body, 4)))
	}
	if h.Flags&unix.NLM_F_ACK_TLVS != 0 {
		for kind, value := range attributes(after(body, skip)) {
			if kind == unix.NLMSGERR_ATTR_MSG {
				return kernelError{errno, text(value)}
			}
		}
	}
	return errno
}
