package veth

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// message is one request to the kernel, and what became of it.
type message struct {
	typ, flags uint16
	data       []nl.NetlinkRequestData // the fixed header, then attributes
	what       string                  // what it tries to do, to be named when it fails
	allow      unix.Errno              // an error that is none

	reply []byte // what followed the netlink header of the answer, if one came
	err   error  // errno, with the kernel's words where it had any
}

func newMessage(typ, flags uint16, what string, data ...nl.NetlinkRequestData) *message {
	return &message{typ: typ, flags: flags, what: what, data: data}
}

// add appends attributes.
func (m *message) add(data ...nl.NetlinkRequestData) { m.data = append(m.data, data...) }

// body returns the message without its netlink header.
func (m *message) body() (b []byte) {
	for _, d := range m.data {
		b = append(b, d.Serialize()...) // a multiple of 4 bytes, as every attribute is
	}
	return b
}

// failed returns the error of the message as a person reads it, or nil.
func (m *message) failed() error { return m.explain(m.err) }

// explain adds to an error what the message tried to do.
func (m *message) explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", m.what, err)
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

// socket is an rtnetlink socket. It stays in the namespace it was opened in,
// whatever thread uses it.
type socket struct {
	mu sync.Mutex
	c  *netlink.Conn
}

// dial opens a socket in the network namespace of the calling thread.
func dial() (*socket, error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, netlink.DumpBuffer)
	if err != nil {
		return nil, fmt.Errorf("open an rtnetlink socket: %w", err)
	}
	return &socket{c: c}, nil
}

// close releases the socket. There is nothing to be done where that fails.
func (s *socket) close() { _ = s.c.Close() }

// batchMax keeps what the kernel answers to one batch within the receive buffer
// (net.core.rmem_default, 208 KiB): an answer about an interface takes 4 KiB.
const batchMax = 32

// exchange sends all messages, up to batchMax in one system call, and collects what
// the kernel says to each. It returns the first error in the order of the
// messages.
func (s *socket) exchange(ms ...*message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for batch := range slices.Chunk(ms, batchMax) {
		if err := s.batch(batch); err != nil {
			for _, m := range batch {
				m.err = cmp.Or(m.err, err)
			}
		}
	}
	return firstFailed(ms)
}

// batch returns an error where the socket fails; what the kernel says to a
// message is in the message.
func (s *socket) batch(ms []*message) error {
	var b netlink.Batch
	for _, m := range ms {
		b.Add(m.typ, m.flags, m.body())
	}
	return s.c.Exchange(&b, func(i int, answer *netlink.Message, err error) error {
		switch m := ms[i]; {
		case err == nil:
			m.reply = slices.Clone(answer.Body)
		case m.allow == 0 || !errors.Is(err, m.allow):
			m.err = err
		}
		return nil
	})
}
