package netlink

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Conn is a netlink socket for requests. It stays in the network namespace in which it was
// opened, whatever thread uses it. Only one goroutine may use it at a time.
type Conn struct {
	transport Transport
	seq       uint32
	buf       []byte
	out       []byte  // the request, reused
	message   Message // reused for each message
	pending   bool    // a dump was not read to its end
}

// Transport carries datagrams to the kernel and back. It is a socket, or a scripted kernel
// in tests.
type Transport interface {
	// Send sends one datagram of requests.
	Send(b []byte) error
	// Receive reads one datagram into b and returns its length, which is more than len(b)
	// if the datagram was cut. It does not wait: without a datagram it returns
	// unix.EAGAIN.
	Receive(b []byte) (n int, err error)
	Close() error
}

// DumpBuffer is the size of a buffer that fits every part of a dump. The kernel puts at
// most 32 KiB, less its struct skb_shared_info, into one (netlink_dump and netlink_recvmsg
// in net/netlink/af_netlink.c). A part is as long as the largest buffer that the socket
// has read into, up to this limit. A smaller buffer costs more system calls, and a larger
// one has no effect.
const DumpBuffer = 32 << 10

// Dial opens a socket of a netlink protocol, such as unix.NETLINK_ROUTE, in the network
// namespace of the calling thread. buffer is the size in bytes of the buffer for answers.
func Dial(protocol, buffer int) (*Conn, error) {
	s, err := open(protocol)
	if err != nil {
		return nil, err
	}
	return NewConn(s, buffer), nil
}

// NewConn returns a Conn over a transport, for tests.
func NewConn(t Transport, buffer int) *Conn { return &Conn{transport: t, buf: make([]byte, buffer)} }

// Close closes the socket.
func (c *Conn) Close() error { return c.transport.Close() }

// Port returns the port ID of the socket, by which notifications name the socket that
// caused them. It returns 0 for a transport that is not a socket.
func (c *Conn) Port() (uint32, error) {
	if s, ok := c.transport.(*socket); ok {
		return s.port()
	}
	return 0, nil
}

// FD returns the socket's file descriptor, which the Conn still owns, or -1 for a
// transport that is not a socket.
func (c *Conn) FD() int {
	if s, ok := c.transport.(*socket); ok {
		return s.fd
	}
	return -1
}

// Get sends a request that has one answer, and returns the answer. It is valid until the
// next call.
func (c *Conn) Get(typ, flags uint16, body ...[]byte) (*Message, error) {
	if err := c.request(typ, flags, body); err != nil {
		return nil, err
	}
	for {
		b, err := c.receive()
		if err != nil {
			return nil, err
		}
		for len(b) > 0 {
			if b, err = c.message.cut(b); err != nil {
				return nil, err
			}
			switch {
			case c.message.Seq != c.seq: // a late answer to an earlier request
			case c.message.Type != unix.NLMSG_ERROR:
				return &c.message, nil
			default:
				if err := c.message.err(); err != nil {
					return nil, err
				}
				return nil, fmt.Errorf("%w: only an acknowledgement came", ErrNoAnswer)
			}
		}
	}
}

// request sends one message.
func (c *Conn) request(typ, flags uint16, body [][]byte) error {
	if err := c.prepare(); err != nil {
		return err
	}
	c.seq++
	c.out = appendMessage(c.out[:0], typ, flags, c.seq, body)
	return c.transport.Send(c.out)
}

// receive returns the messages of the next datagram.
func (c *Conn) receive() ([]byte, error) {
	n, err := c.transport.Receive(c.buf)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return nil, ErrNoAnswer
	case err != nil:
		return nil, overrun(err)
	case n > len(c.buf):
		return nil, cutShort(n, len(c.buf))
	}
	return c.buf[:n], nil
}

// overrun adds ErrOverrun to an ENOBUFS.
func overrun(err error) error {
	if errors.Is(err, unix.ENOBUFS) {
		return fmt.Errorf("%w: %w", ErrOverrun, err)
	}
	return err
}

func cutShort(n, room int) error {
	return fmt.Errorf("%w: a message of %d bytes does not fit a buffer of %d", ErrOverrun, n, room)
}
