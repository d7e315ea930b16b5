package conntrack

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Conn reaches the conntrack table of the network namespace in which it was opened,
// from whatever thread. It is for one goroutine at a time; within the loop over a
// dump, everything may be called that is not a dump itself.
type Conn struct {
	dumps  *socket // a dump occupies its socket
	asks   *socket
	flow   Flow // the one that Dump yields
	within bool // a loop over a dump
}

// What a dump or a watch cannot hide.
var (
	// ErrInterrupted says that the table changed in a way that made a dump miss or
	// repeat entries (NLM_F_DUMP_INTR).
	ErrInterrupted = errors.New("the table changed while it was dumped")
	// ErrOverrun says that messages were lost, since they were not read fast enough
	// (ENOBUFS).
	ErrOverrun = errors.New("netlink messages were lost")
	// ErrNotFound says that the table has no such entry.
	ErrNotFound = errors.New("no such flow")
	// ErrBusy says that a dump was begun within the loop over another of the same
	// Conn.
	ErrBusy = errors.New("another dump of this connection is under way")
)

const (
	dumpBuffer = 32 << 10
	askBuffer  = 8 << 10 // one answer is at most a page (NLMSG_DEFAULT_SIZE)
)

// Open connects to the conntrack table of the calling thread's network namespace.
func Open() (*Conn, error) {
	dumps, err := dial(dumpBuffer)
	if err != nil {
		return nil, explain(fmt.Errorf("open a netlink socket: %w", err))
	}
	asks, err := dial(askBuffer)
	if err != nil {
		return nil, errors.Join(explain(fmt.Errorf("open a netlink socket: %w", err)), dumps.close())
	}
	return &Conn{dumps: dumps, asks: asks}, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return errors.Join(c.dumps.close(), c.asks.close()) }

// explain adds what to do to errors that a person can mend.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("conntrack: %w: CAP_NET_ADMIN is needed", err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPROTONOSUPPORT):
		// Requests are made well, or refused here: it is the kernel that knows none.
		return fmt.Errorf("conntrack: %w: the kernel lacks conntrack over netlink (CONFIG_NF_CT_NETLINK, module nf_conntrack_netlink)", err)
	default:
		return fmt.Errorf("conntrack: %w", err)
	}
}
