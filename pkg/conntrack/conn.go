package conntrack

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Conn reads and changes the conntrack table of the network namespace in which it was
// opened, on any thread. It is for one goroutine at a time. In the loop over a dump, any
// method may be called that is not a dump.
type Conn struct {
	dumps    *netlink.Conn // a dump occupies its socket
	requests *netlink.Conn
	body     netlink.Encoder // the request, reused
	flow     Flow            // the flow that Dump yields, reused
	dumping  bool            // in the loop over a dump
}

// The errors that callers can test for with errors.Is.
var (
	// ErrInterrupted means that a dump may lack or repeat entries because the table changed
	// (NLM_F_DUMP_INTR).
	ErrInterrupted = netlink.ErrInterrupted
	// ErrOverrun means that messages were lost because they were read too slowly (ENOBUFS).
	ErrOverrun = netlink.ErrOverrun
	// ErrNotFound means that the table does not have the flow.
	ErrNotFound = errors.New("no such flow")
	// ErrBusy means that a dump was started in the loop over another dump of the same Conn.
	ErrBusy = errors.New("another dump of this connection is running")
)

// answerBuffer is the size in bytes of the buffer for one answer, which is at most a page
// (NLMSG_DEFAULT_SIZE).
const answerBuffer = 8 << 10

// Open returns a Conn for the calling thread's network namespace.
func Open() (*Conn, error) {
	dumps, err := netlink.Dial(unix.NETLINK_NETFILTER, netlink.DumpBuffer)
	if err != nil {
		return nil, explain(fmt.Errorf("open a netlink socket: %w", err))
	}
	requests, err := netlink.Dial(unix.NETLINK_NETFILTER, answerBuffer)
	if err != nil {
		return nil, errors.Join(explain(fmt.Errorf("open a netlink socket: %w", err)), dumps.Close())
	}
	return &Conn{dumps: dumps, requests: requests}, nil
}

// Close closes both sockets.
func (c *Conn) Close() error { return errors.Join(c.dumps.Close(), c.requests.Close()) }

// explain adds the cause and the remedy to errors that an operator can resolve.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("conntrack: %w: CAP_NET_ADMIN is needed", err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPROTONOSUPPORT):
		// This package sends valid requests only, so the kernel lacks the protocol.
		return fmt.Errorf("conntrack: %w: the kernel lacks conntrack over netlink (CONFIG_NF_CT_NETLINK, module nf_conntrack_netlink)", err)
	default:
		return fmt.Errorf("conntrack: %w", err)
	}
}
