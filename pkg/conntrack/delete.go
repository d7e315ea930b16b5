package conntrack

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Delete deletes the flow that has this tuple as its original or reply tuple. If id is not
// 0, a later flow with the same tuple stays. The error is ErrNotFound if the table does not
// have the flow.
func (c *Conn) Delete(t Tuple, id uint32) error {
	if !t.Valid() {
		return fmt.Errorf("conntrack: delete %s: the tuple is incomplete", t)
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

// DeleteMatching deletes the flows that the filter selects and match returns true for,
// while it dumps them, and returns their number. It does not count a flow that ended
// meanwhile, and does not delete a new flow with the same tuple. The flow that match gets
// is valid until it returns, and match may get a flow twice. If the kernel does not delete
// a flow, the others are deleted, and the first such error is returned: EBUSY for a flow in
// a flowtable before Linux 6.4.
func (c *Conn) DeleteMatching(ctx context.Context, filter Filter, match func(*Flow) bool) (n int, err error) {
	d := deletion{c: c}
	var failed error
	err = c.dumpFlows(ctx, &filter, func(f *Flow) bool {
		if match(f) {
			d.add(f.Original, f.ID)
		}
		if d.isFull() {
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

// deletion collects requests and sends them together. Each request has a tuple: without
// one, the kernel would delete all flows.
type deletion struct {
	c       *Conn
	batch   netlink.Batch
	deleted int
	refused error // the first error other than of a flow that had ended
}

// maxDeletions is the number of requests in a batch. The errors of all fit the receive buffer.
const maxDeletions = 64

func (d *deletion) isFull() bool { return d.batch.Len() == maxDeletions }

func (d *deletion) add(t Tuple, id uint32) {
	d.c.body = append(d.c.body[:0], header(t.family())...)
	t.key(&d.c.body)
	if id != 0 {
		d.c.body.Uint32(ctaID, id)
	}
	d.batch.Add(msgDelete, 0, d.c.body)
}

// flush sends the requests. A flow was deleted if the kernel reports no error for it.
func (d *deletion) flush() error {
	failed := 0
	err := d.c.requests.Exchange(&d.batch, func(_ int, _ *netlink.Message, err error) error {
		failed++
		if !errors.Is(err, unix.ENOENT) && d.refused == nil {
			d.refused = err
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.deleted += d.batch.Len() - failed
	d.batch.Reset()
	return nil
}
