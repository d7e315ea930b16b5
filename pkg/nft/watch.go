package nft

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// pluginName is the name of the plugin's process.
const pluginName = "masq"

// Watcher receives the transactions that change the kernel's ruleset.
type Watcher struct {
	events *netlink.Subscription
	own    uint32      // the port ID of the Conn, whose transactions are not described
	next   Transaction // the transaction whose notifications are being read
}

// watchBuffer is the size of the buffer for unread notifications, in bytes.
const watchBuffer = 8 << 20

// Watch begins to receive all transactions that are made after it returns. Transactions of
// c are marked: the kernel reports the port ID of the socket that made each.
func (c *Conn) Watch() (*Watcher, error) { return c.watchWith(watchBuffer) }

func (c *Conn) watchWith(buffer int) (*Watcher, error) {
	own, err := c.nl.Port()
	if err != nil {
		return nil, fmt.Errorf("watch: %w", explain(err))
	}
	events, err := netlink.Subscribe(unix.NETLINK_NETFILTER, buffer, unix.NFNLGRP_NFTABLES)
	if err != nil {
		return nil, fmt.Errorf("watch: %w", explain(err))
	}
	c.watch = &Watcher{events: events, own: own}
	return c.watch, nil
}

// pause stops receiving until resume. Both succeed if the Watcher has ended.
func (w *Watcher) pause() error { return ended(w.events.Leave(unix.NFNLGRP_NFTABLES)) }

func (w *Watcher) resume() error { return ended(w.events.Join(unix.NFNLGRP_NFTABLES)) }

func ended(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// Run calls f for each transaction until the context ends, which is no error. If
// notifications were lost because the buffer was full, it calls f with lost and a zero
// Transaction. Transactions after that are complete again.
func (w *Watcher) Run(ctx context.Context, f func(t Transaction, lost bool)) error {
	defer func() { _ = w.events.Close() }()
	for {
		err := w.receive(ctx, f)
		if errors.Is(err, netlink.ErrOverrun) {
			err = w.events.Drain() // later notifications are not lost
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, netlink.ErrMalformed):
			return fmt.Errorf("watch nftables: %w", err)
		}
		w.lose(f)
	}
}

// receive calls f for each transaction until notifications cannot be received.
func (w *Watcher) receive(ctx context.Context, f func(Transaction, bool)) error {
	for m, err := range w.events.Messages(ctx) {
		if err != nil {
			return err
		}
		if w.read(m, f) != nil {
			w.lose(f) // an unreadable notification may be about table inet masq
		}
	}
	return nil
}

// lose reports that notifications were lost, and discards the transaction of which some
// were read: its end may be lost.
func (w *Watcher) lose(f func(Transaction, bool)) {
	w.next = Transaction{}
	f(Transaction{}, true)
}

// read collects notifications into transactions. The kernel ends each transaction with a
// message that has its generation and the process that made it.
func (w *Watcher) read(m *netlink.Message, f func(Transaction, bool)) error {
	if m.Type>>8 != unix.NFNL_SUBSYS_NFTABLES {
		return nil
	}
	if len(m.Body) < nfgenmsgLen {
		return netlink.Malformed("a notification of %d bytes", len(m.Body))
	}
	body, own := m.Body[nfgenmsgLen:], m.Port == w.own
	if typ := m.Type & 0xff; typ != unix.NFT_MSG_NEWGEN {
		if own {
			return nil
		}
		// The table's name is attribute 1 in every message of nf_tables.
		name, err := inside(body, unix.NFTA_TABLE_NAME)
		table := netlink.Text(name)
		if err != nil || m.Body[0] != unix.NFPROTO_INET || table != ruleset.Name {
			w.next.Published = w.next.Published || err == nil && publishes(typ, table, body)
			return err
		}
		return w.next.take(typ, body)
	}
	gen, err := fields(body)
	if err != nil {
		return err
	}
	t := w.next
	w.next = Transaction{}
	t.Generation, t.Own, t.Process = number(gen[unix.NFTA_GEN_ID]), own, netlink.Text(gen[unix.NFTA_GEN_PROC_NAME])
	f(t, false)
	return nil
}
