package conntrack

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Delete removes the flow with this tuple, either of its two, from the table. Where
// the id is not 0, a later flow with the same tuple stays. It is ErrNotFound where
// the table has no such flow.
func (c *Conn) Delete(t Tuple, id uint32) error {
	if !t.Valid() {
		return fmt.Errorf("conntrack: delete %s: incomplete", t)
	}
	d := deletion{c: c}
	d.add(t, id)
	err := d.flush()
	switch {
	case err != nil:
	case d.refused != nil:
		err = d.refused
	case d.deleted == 0:
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", t, explain(err))
	}
	return nil
}

// DeleteMatching removes the flows that the filter chooses and match agrees to,
// while it dumps them, and counts them. A flow that ended by itself meanwhile is not
// counted, and a new one that took its tuple stays. What match is given is good
// until it returns; it may be given a flow twice. A flow that the kernel refuses to
// delete does not keep others from being deleted, and becomes the error: before
// Linux 6.4, one in a flowtable is EBUSY.
func (c *Conn) DeleteMatching(ctx context.Context, filter Filter, match func(*Flow) bool) (n int, err error) {
	d := deletion{c: c}
	var failed error
	err = c.dumpFlows(ctx, &filter, func(f *Flow) bool {
		if match(f) {
			d.add(f.Original, f.ID)
		}
		if d.full() {
			failed = d.flush()
		}
		return failed == nil
	})
	if failed == nil {
		failed = d.flush()
	}
	err = errors.Join(err, failed, d.refused)
	return d.deleted, explain(err)
}

// deletion gathers requests and sends them together. A request without any tuple
// would empty the table, so none is ever made.
type deletion struct {
	c       *Conn
	batch   netlink.Batch
	deleted int
	refused error // the first, but for those that were gone already
}

// deletionSize keeps the errors for all of a batch well within a receive buffer.
const deletionSize = 64

func (d *deletion) full() bool { return d.batch.Len() == deletionSize }

func (d *deletion) add(t Tuple, id uint32) {
	d.c.body = append(d.c.body[:0], header(t.family())...)
	t.key(&d.c.body)
	if id != 0 {
		d.c.body.Uint32(ctaID, id)
	}
	d.batch.Add(msgDelete, 0, d.c.body)
}

// flush deletes. A flow is deleted if the kernel reports no error for it.
func (d *deletion) flush() error {
	kept := 0
	err := d.c.asks.Exchange(&d.batch, func(_ int, _ *netlink.Message, err error) error {
		kept++
		if !errors.Is(err, unix.ENOENT) && d.refused == nil {
			d.refused = err
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.deleted += d.batch.Len() - kept
	d.batch.Reset()
	return nil
}
