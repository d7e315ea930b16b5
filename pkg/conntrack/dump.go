package conntrack

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"golang.org/x/sys/unix"
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
	take := func(m *message) (bool, error) {
		if err := c.flow.UnmarshalBinary(m.attributes()); err != nil {
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

var errEarly = errors.New("the dump ended early")

// dump calls f with each answer until it returns false.
func (c *Conn) dump(ctx context.Context, typ uint16, q query, f func(*message) (bool, error)) error {
	if c.within {
		return ErrBusy
	}
	c.within = true
	defer func() { c.within = false }()
	return c.dumps.dump(ctx, typ, q, f)
}

func (s *socket) dump(ctx context.Context, typ uint16, q query, f func(*message) (bool, error)) error {
	if s.busy {
		if err := s.renew(); err != nil {
			return fmt.Errorf("end an earlier dump: %w", err)
		}
	}
	b := s.open(s.out[:0], typ, unix.NLM_F_DUMP, q.family)
	s.out = seal(append(b, q.attrs...), 0)
	if err := s.send(s.out); err != nil {
		return err
	}
	s.busy = true
	var m message
	interrupted := false
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		b, err := s.receive()
		if err != nil {
			return err
		}
		if b == nil {
			return errEarly
		}
		for len(b) > 0 {
			if b, err = m.cut(b); err != nil {
				return err
			}
			if m.seq != s.seq {
				continue
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			switch m.typ {
			case unix.NLMSG_ERROR:
				s.busy = false
				return m.errno()
			case unix.NLMSG_DONE:
				s.busy = false
				if err := m.errno(); err != nil {
					return err
				}
				if interrupted {
					return ErrInterrupted
				}
				return nil
			}
			if more, err := f(&m); err != nil || !more {
				return err
			}
		}
	}
}

// renew ends a dump that nobody read to its end. The kernel knows no other way than
// to close its socket; where a new one would be in another namespace, the rest of
// the dump is read.
func (s *socket) renew() error {
	fresh, err := dial(0)
	if err != nil {
		return err
	}
	same, err := sameNamespace(fresh.fd, s.fd)
	if err == nil && same {
		s.busy = false
		old := s.fd
		s.fd = fresh.fd
		return unix.Close(old)
	}
	return errors.Join(err, fresh.close(), s.drain())
}

func (s *socket) drain() error {
	for {
		b, err := s.receive()
		if err != nil {
			return err
		}
		if b == nil {
			s.busy = false
			return nil
		}
	}
}

// sameNamespace compares the network namespaces of two sockets.
// Requires Linux 5.14 (SO_NETNS_COOKIE).
func sameNamespace(a, b int) (bool, error) {
	x, err := unix.GetsockoptUint64(a, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return false, err
	}
	y, err := unix.GetsockoptUint64(b, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return x == y, err
}
