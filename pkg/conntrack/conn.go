package conntrack

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Conn reaches the conntrack table of the network namespace in which it was opened,
// from whatever thread. It is for one goroutine at a time; within the loop over a
// dump, everything may be called that is not a dump itself.
type Conn struct {
	dumps  *netlink.Conn // a dump occupies its socket
	asks   *netlink.Conn
	body   netlink.Encoder // of a request, reused
	flow   Flow            // the one that Dump yields
	within bool            // a loop over a dump
}

// What a dump or a watch cannot hide.
var (
	// ErrInterrupted means that the table changed in a way that made a dump miss or
	// repeat entries (NLM_F_DUMP_INTR).
	ErrInterrupted = netlink.ErrInterrupted
	// ErrOverrun means that messages were lost because they were not read fast enough
	// (ENOBUFS).
	ErrOverrun = netlink.ErrOverrun
	// ErrNotFound says that the table has no such entry.
	ErrNotFound = errors.New("no such flow")
	// ErrBusy says that a dump was begun within the loop over another of the same
	// Conn.
	ErrBusy = errors.New("another dump of this connection is under way")
)

// askBuffer is the size in bytes of the buffer for one answer, which is at most a page
// (NLMSG_DEFAULT_SIZE).
const askBuffer = 8 << 10

// Open connects to the conntrack table of the calling thread's network namespace.
func Open() (*Conn, error) {
	dumps, err := netlink.Dial(unix.NETLINK_NETFILTER, netlink.DumpBuffer)
	if err != nil {
		return nil, explain(fmt.Errorf("open a netlink socket: %w", err))
	}
	asks, err := netlink.Dial(unix.NETLINK_NETFILTER, askBuffer)
	if err != nil {
		return nil, errors.Join(explain(fmt.Errorf("open a netlink socket: %w", err)), dumps.Close())
	}
	return &Conn{dumps: dumps, asks: asks}, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return errors.Join(c.dumps.Close(), c.asks.Close()) }

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
