package conntrack

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Delete removes the flow with this tuple, either of its two, from the table. Where
// the id is not 0, a later flow with the same tuple stays. It is ErrNotFound where
// the table has no such flow.
func (c *Conn) Delete(t Tuple, id uint32) error {
	if !t.Valid() {
		return fmt.Errorf("conntrack: delete %s: incomplete", t)
	}
	d := deletion{s: c.asks}
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
	d := deletion{s: c.asks}
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
	s           *socket
	b           []byte
	first, last uint32 // their sequence numbers
	pending     int
	deleted     int
	refused     error // the first, but for those that were gone already
}

// deletionSize keeps the errors for all of a batch well within a receive buffer.
const deletionSize = 64

func (d *deletion) full() bool { return d.pending == deletionSize }

func (d *deletion) add(t Tuple, id uint32) {
	at := len(d.b)
	b := d.s.open(d.b, msgDelete, 0, t.family())
	b = t.key(b)
	if id != 0 {
		b = put32(b, ctaID, id)
	}
	d.b = seal(b, at)
	d.last = d.s.seq
	if d.pending == 0 {
		d.first = d.last
	}
	d.pending++
}

// flush deletes. The kernel answers with errors only: what it says nothing about is
// deleted.
func (d *deletion) flush() error {
	if d.pending == 0 {
		return nil
	}
	if err := d.s.send(d.b); err != nil {
		return err
	}
	kept := 0
	for {
		b, err := d.s.receive()
		if err != nil {
			return err
		}
		if b == nil {
			break
		}
		for len(b) > 0 {
			var m message
			if b, err = m.cut(b); err != nil {
				return err
			}
			if m.typ != unix.NLMSG_ERROR || m.seq-d.first > d.last-d.first {
				continue
			}
			kept++
			if err := m.errno(); !errors.Is(err, unix.ENOENT) && d.refused == nil {
				d.refused = err
			}
		}
	}
	d.deleted += d.pending - kept
	d.b, d.pending = d.b[:0], 0
	return nil
}
