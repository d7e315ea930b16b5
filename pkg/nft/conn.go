package nft

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Conn accesses the nftables of the network namespace in which it was opened.
type Conn struct {
	nl    *netlink.Conn
	watch *Watcher // the last that Watch returned, or nil
	// Services returns the ports of the node's services, which Add reserves. If it is nil,
	// Add keeps the ports that the table reserves.
	Services func() ([]masq.PortRange, error)

	published *published // the last result of Published, or nil
	table     string     // the table of an OwnerError
}

// Open connects to the nftables of the calling thread's network namespace.
func Open() (*Conn, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, netlink.DumpBuffer)
	if err != nil {
		return nil, explain(fmt.Errorf("open a netlink socket: %w", err))
	}
	return &Conn{nl: nl, table: ruleset.Name}, nil
}

// Close closes the connection. The rules are kept.
func (c *Conn) Close() error { return c.nl.Close() }

const (
	// retryTime bounds how long a change is planned again because other programs changed
	// the ruleset first.
	retryTime = 20 * time.Second
	// retryPause is the longest pause before the second attempt. It doubles up to
	// retryPauseMax, so that writers that conflict repeatedly spread out.
	retryPause    = time.Millisecond
	retryPauseMax = 32 * time.Millisecond
)

// retry calls f again while it fails because other programs changed the ruleset.
func retry(f func() error) error {
	begun, pause := time.Now(), retryPause
	for {
		err := f()
		if !errors.Is(err, errStale) && !errors.Is(err, errInterrupted) {
			return err
		}
		if took := time.Since(begun); took > retryTime {
			return fmt.Errorf("other programs kept changing the ruleset for %s: %w", took.Round(time.Second), err)
		}
		time.Sleep(rand.N(pause))
		pause = min(2*pause, retryPauseMax)
	}
}

// Exists reports whether the table exists.
func (c *Conn) Exists() (bool, error) {
	_, err := c.get(unix.NFT_MSG_GETTABLE, ofTable())
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, explain(err)
}

// Generation returns the generation of the kernel's ruleset, which every transaction of
// any program increases by one.
func (c *Conn) Generation() (uint32, error) {
	g, err := c.generation()
	return g, explain(err)
}

// Uninstall removes the table.
func (c *Conn) Uninstall() error { return explain(c.commit([]op{deleteTable()}, 0)) }
