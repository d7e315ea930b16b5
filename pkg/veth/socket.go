package veth

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

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
		b.Add(m.typ, m.flags, m.Encoder)
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
