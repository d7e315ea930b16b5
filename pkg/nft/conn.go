package nft

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Conn reaches the nftables of the network namespace in which it was opened.
type Conn struct {
	nl    *netlink.Conn
	watch *Watcher // the last that Watch returned; nil before its first call
	// Services returns the ports that the node's services have, for Add to reserve them;
	// nil keeps the ports that the table reserves.
	Services func() ([]masq.PortRange, error)

	published *published // of Published; nil before its first call
}

// Open connects to the nftables of the calling thread's network namespace.
func Open() (*Conn, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, netlink.DumpBuffer)
	if err != nil {
		return nil, explain(fmt.Errorf("open a netlink socket: %w", err))
	}
	return &Conn{nl: nl}, nil
}

// Close ends the connection. Rules stay.
func (c *Conn) Close() error { return c.nl.Close() }

const (
	// retryTime bounds how long a change is planned again because other programs were
	// faster. Whenever that happens a change of theirs was made.
	retryTime = 20 * time.Second
	// retryPause is the longest pause before the second attempt, and doubles up to
	// retryPauseMax: writers that keep getting in one another's way draw apart.
	retryPause    = time.Millisecond
	retryPauseMax = 32 * time.Millisecond
)

// retry calls f until the ruleset holds still for it.
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

// Exists reports whether the table is there.
func (c *Conn) Exists() (bool, error) {
	_, err := c.get(unix.NFT_MSG_GETTABLE, ofTable())
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, explain(err)
}

// Generation is the number of the kernel's present ruleset: it grows with each
// transaction, whoever makes it.
func (c *Conn) Generation() (uint32, error) {
	g, err := c.generation()
	return g, explain(err)
}

// Uninstall removes the table.
func (c *Conn) Uninstall() error { return explain(c.commit([]op{deleteTable()}, 0)) }
