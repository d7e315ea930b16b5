package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeNode is a Node in memory. It records misuse of the interface as errors of the test.
type fakeNode struct {
	t testing.TB
	// dial connects to a server.
	dial func(ctx context.Context, client, server netip.AddrPort) (net.Conn, error)
	// openErr is the error of Open for some media.
	openErr func(Media) error
	refuse  atomic.Bool // connections
	// renewErr and closeErr are the errors of Renew and Close.
	renewErr, closeErr error

	mu       sync.Mutex
	owners   map[netip.Addr]string
	egress   netip.Addr
	next     uint16 // the port from which Reserve searches
	last     uint16 // no port above it is reserved
	reserved map[fakePort]bool
	open     map[Media]bool
	opened   []Media // in order
	renewed  int

	reservations int // calls of Reserve
	closed       int
}

type fakePort struct {
	proto uint8
	addr  netip.Addr
	port  uint16
}

var errNoPorts = errors.New("no free ports")

// newFakeNode returns a node with the egress address 192.0.2.53 and the attachment "net/a/eth0" at
// 10.88.0.2. When the test ends, nothing may be reserved.
func newFakeNode(t testing.TB) *fakeNode {
	n := &fakeNode{
		t: t, egress: netip.MustParseAddr("192.0.2.53"), next: 40000, last: 65535,
		owners:   map[netip.Addr]string{netip.MustParseAddr("10.88.0.2"): "net/a/eth0"},
		reserved: map[fakePort]bool{}, open: map[Media]bool{},
	}
	t.Cleanup(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.reserved) > 0 {
			t.Errorf("still reserved: %v", slices.Collect(maps.Keys(n.reserved)))
		}
	})
	return n
}

func (n *fakeNode) Owner(a netip.Addr) (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	id, ok := n.owners[a]
	return id, ok
}

func (n *fakeNode) Connect(ctx context.Context, client, server netip.AddrPort) (net.Conn, netip.AddrPort, error) {
	if n.refuse.Load() {
		return nil, netip.AddrPort{}, errors.New("connection refused")
	}
	c, err := n.dial(ctx, client, server)
	return c, netip.AddrPortFrom(n.egress, 33333), err
}

func (n *fakeNode) Reserve(_ string, proto uint8, egress netip.Addr, count int) (uint16, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reservations++
	if egress != n.egress || count < 1 || count > 2 || proto != unix.IPPROTO_UDP && proto != unix.IPPROTO_TCP {
		n.t.Errorf("Reserve(%d, %s, %d)", proto, egress, count)
	}
search:
	for p := int(n.next); p+count-1 <= int(n.last); p++ {
		if count == 2 && p%2 != 0 {
			continue
		}
		for i := range count {
			if n.reserved[fakePort{proto, egress, uint16(p + i)}] {
				continue search
			}
		}
		for i := range count {
			n.reserved[fakePort{proto, egress, uint16(p + i)}] = true
		}
		return uint16(p), nil
	}
	return 0, errNoPorts
}

func (n *fakeNode) Release(proto uint8, egress netip.Addr, first uint16, count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range count {
		p := fakePort{proto, egress, first + uint16(i)}
		if !n.reserved[p] {
			n.t.Errorf("%v is released but not reserved", p)
		}
		delete(n.reserved, p)
	}
}

func (n *fakeNode) Open(m Media) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.openErr != nil {
		if err := n.openErr(m); err != nil {
			return err
		}
	}
	n.check("opened", m)
	if n.open[m] {
		return fmt.Errorf("%w: %v", ErrInUse, m)
	}
	n.open[m] = true
	n.opened = append(n.opened, m)
	return nil
}

func (n *fakeNode) Renew(m Media) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.check("renewed", m)
	n.renewed++
	if n.renewErr == nil {
		n.open[m] = true
	}
	return n.renewErr
}

func (n *fakeNode) Close(m Media) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.check("closed", m)
	if !n.open[m] {
		n.t.Errorf("%v is closed but not open", m)
	}
	n.closed++
	if n.closeErr == nil {
		delete(n.open, m)
	}
	return n.closeErr
}

// check reports media that no session may name. n.mu must be held.
func (n *fakeNode) check(what string, m Media) {
	if !n.reserved[fakePort{m.Proto, m.Egress.Addr(), m.Egress.Port()}] {
		n.t.Errorf("%v is %s but its port is not reserved", m, what)
	}
	if n.owners[m.Client.Addr()] != m.Identity || m.Client.Port() == 0 || m.Egress.Port() < MinPort || !m.Server.IsValid() {
		n.t.Errorf("%v is %s", m, what)
	}
}

// isOpen returns the media that are open.
func (n *fakeNode) isOpen() []Media {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Keys(n.open))
}

// fail sets the errors of Renew and Close.
func (n *fakeNode) fail(renew, closing error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.renewErr, n.closeErr = renew, closing
}

// renewals returns how often media were renewed.
func (n *fakeNode) renewals() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.renewed
}

// ports returns the number of reserved ports.
func (n *fakeNode) ports() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.reserved)
}
