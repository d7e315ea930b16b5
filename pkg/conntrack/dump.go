package conntrack

import (
	"context"
	"errors"
	"iter"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Dump reads the flows that the filter selects:
//
//	for f, err := range c.Dump(ctx, conntrack.Filter{}) {
//		if err != nil {
//			return err
//		}
//		...
//	}
//
// The loop gets all flows in the same *Flow, which is valid until the next iteration: copy
// it to keep it. Dump allocates nothing for a flow, and has one part of the dump in memory.
// An error ends the loop and comes without a flow. It means that the dump is not complete:
// ErrInterrupted, ErrOverrun, other errors of the kernel, or the cause of the context's
// end.
//
// If the table changes during a dump, the loop gets each flow that exists all the time at
// least once, and may get flows that begin or end. If the entry at which a part of the dump
// ended is deleted, the kernel repeats others of its hash bucket without reporting it
// (ctnetlink_dump_table): compare ID to count exactly.
func (c *Conn) Dump(ctx context.Context, filter Filter) iter.Seq2[*Flow, error] {
	return func(yield func(*Flow, error) bool) {
		if err := c.dumpFlows(ctx, &filter, func(f *Flow) bool { return yield(f, nil) }); err != nil {
			yield(nil, explain(err))
		}
	}
}

func (c *Conn) dumpFlows(ctx context.Context, filter *Filter, each func(*Flow) bool) error {
	if err := filter.Validate(); err != nil {
		return err
	}
	more := true
	receive := func(m *netlink.Message) (bool, error) {
		if err := c.flow.UnmarshalBinary(attributes(m)); err != nil {
			return false, err
		}
		more = !filter.Match(&c.flow) || each(&c.flow)
		return more, nil
	}
	for _, q := range filter.queries() {
		err := c.dump(ctx, msgGet, q, receive)
		// A kernel without CONFIG_NF_CONNTRACK_MARK or CONFIG_NF_CONNTRACK_ZONES cannot
		// filter by marks or zones.
		if errors.Is(err, unix.EOPNOTSUPP) && q.attrs != nil {
			err = c.dump(ctx, msgGet, query{family: q.family}, receive)
		}
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// dump calls f with each answer until f returns false.
func (c *Conn) dump(ctx context.Context, typ uint16, q query, f func(*netlink.Message) (bool, error)) error {
	if c.dumping {
		return ErrBusy
	}
	c.dumping = true
	defer func() { c.dumping = false }()
	ended := ctx.Done()
	for m, err := range c.dumps.Dump(typ, 0, header(q.family), q.attrs) {
		if err != nil {
			return err
		}
		select {
		case <-ended:
			return context.Cause(ctx)
		default:
		}
		if more, err := f(m); err != nil || !more {
			return err
		}
	}
	return nil
}
