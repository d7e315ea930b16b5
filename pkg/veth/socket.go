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

// socket is an rtnetlink socket. It stays in the namespace in which it was opened, on any
// thread. It may be used by several goroutines.
type socket struct {
	mu sync.Mutex
	c  *netlink.Conn
}

// The sizes in bytes of buffers for answers. A container has few addresses and routes, and an
// answer about an interface takes 4 KiB. With the larger buffer, to compare the links of a
// thousand containers would take 32 MB.
const (
	nodeBuffer      = netlink.DumpBuffer
	containerBuffer = 8 << 10
)

// dial opens a socket in the network namespace of the calling thread. buffer is the size in
// bytes of the buffer for answers.
func dial(buffer int) (*socket, error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, buffer)
	if err != nil {
		return nil, fmt.Errorf("open an rtnetlink socket: %w", err)
	}
	return &socket{c: c}, nil
}

// close closes the socket. A caller could do nothing about an error.
func (s *socket) close() { _ = s.c.Close() }

// maxBatch is the largest number of messages in one system call. The answers to a batch have to fit
// the receive buffer (net.core.rmem_default, 208 KiB): one about an interface takes 4 KiB.
const maxBatch = 32

// exchange sends all messages, up to maxBatch in one system call, and stores the answer or
// error of each. It returns the first error in the order of the messages.
func (s *socket) exchange(ms ...*message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for batch := range slices.Chunk(ms, maxBatch) {
		if err := s.batch(batch); err != nil {
			for _, m := range batch {
				m.err = cmp.Or(m.err, err)
			}
		}
	}
	return firstFailed(ms)
}

// batch sends messages in one system call. It returns errors of the socket; the kernel's
// errors are in the messages.
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
