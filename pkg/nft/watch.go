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

// pluginName is what the kernel calls the plugin's process.
const pluginName = "masq"

// Watcher receives the transactions that change the kernel's ruleset.
type Watcher struct {
	events *netlink.Subscription
	own    uint32      // the address of the Conn, whose changes need no description
	next   Transaction // the one whose notifications are being read
}

// watchBuffer is the room for notifications that were not read yet, in bytes.
const watchBuffer = 8 << 20

// Watch begins to receive all transactions that are made after it returns. Transactions
// that c makes are marked: the kernel names the socket that made each.
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

// pause stops receiving until resume. Neither is an error of a Watcher that has ended.
func (w *Watcher) pause() error { return ended(w.events.Leave(unix.NFNLGRP_NFTABLES)) }

func (w *Watcher) resume() error { return ended(w.events.Join(unix.NFNLGRP_NFTABLES)) }

func ended(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// Run calls f for each transaction until the context ends, which is no error. If there
// were more notifications than the buffer holds, it calls f with lost and a zero
// Transaction; the transactions that follow are complete again.
func (w *Watcher) Run(ctx context.Context, f func(t Transaction, lost bool)) error {
	defer func() { _ = w.events.Close() }()
	for {
		err := w.receive(ctx, f)
		if errors.Is(err, netlink.ErrOverrun) {
			err = w.events.Drain() // what comes next is not lost
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
			w.lose(f) // what cannot be read may have been about our table
		}
	}
	return nil
}

// lose reports that notifications were lost, and forgets what those before said of a
// transaction whose end may be among the lost ones.
func (w *Watcher) lose(f func(Transaction, bool)) {
	w.next = Transaction{}
	f(Transaction{}, true)
}

// read gathers notifications into transactions. The kernel ends each transaction with a
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
