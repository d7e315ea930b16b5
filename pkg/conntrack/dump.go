package conntrack

import (
	"context"
	"errors"
	"iter"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Dump reads the flows that the filter chooses:
//
//	for f, err := range c.Dump(ctx, conntrack.Filter{}) {
//		if err != nil {
//			return err
//		}
//		...
//	}
//
// All flows come in the same *Flow, which is good until the next one comes; copy
// the Flow to keep it. Nothing is allocated for a flow, and never more than a part
// of the dump is in memory. An error is the last thing that comes, and there is no
// flow with it: one that says that the dump is not complete, ErrInterrupted or
// ErrOverrun among them, or the cause of the context's end.
//
// A table that changes during a dump: a flow that is there all the time comes at
// least once. One that begins or ends may come or not. When the entry at which a
// part of the dump ended is deleted, others of its hash bucket come again, and the
// kernel does not say so (ctnetlink_dump_table); who counts exactly looks at ID.
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
	take := func(m *netlink.Message) (bool, error) {
		if err := c.flow.UnmarshalBinary(attributes(m)); err != nil {
			return false, err
		}
		more = !filter.Match(&c.flow) || each(&c.flow)
		return more, nil
	}
	for _, q := range filter.queries() {
		err := c.dump(ctx, msgGet, q, take)
		// Without CONFIG_NF_CONNTRACK_MARK or CONFIG_NF_CONNTRACK_ZONES the kernel
		// refuses to filter by them.
		if errors.Is(err, unix.EOPNOTSUPP) && q.attrs != nil {
			err = c.dump(ctx, msgGet, query{family: q.family}, take)
		}
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// dump calls f with each answer until it returns false.
func (c *Conn) dump(ctx context.Context, typ uint16, q query, f func(*netlink.Message) (bool, error)) error {
	if c.within {
		return ErrBusy
	}
	c.within = true
	defer func() { c.within = false }()
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
