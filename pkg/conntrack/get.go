package conntrack

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Get looks up one flow by either of its tuples, which has to be complete. It is
// ErrNotFound where the table has none.
func (c *Conn) Get(t Tuple) (Flow, error) {
	if !t.Valid() {
		return Flow{}, fmt.Errorf("conntrack: look up %s: incomplete", t)
	}
	s := c.asks
	s.out = seal(t.key(s.open(s.out[:0], msgGet, 0, t.family())), 0)
	var f Flow
	err := s.ask(s.out, func(m *message) error { return f.UnmarshalBinary(m.attributes()) })
	if errors.Is(err, unix.ENOENT) {
		err = ErrNotFound
	}
	if err != nil {
		return Flow{}, fmt.Errorf("look up %s: %w", t, explain(err))
	}
	return f, nil
}

// key appends what a flow is found by. The kernel looks in both directions whatever
// the attribute says; its zone is the one of the direction (nf_conntrack_find_get).
func (t *Tuple) key(b []byte) []byte {
	b = t.write(b, ctaTupleOrig, 0)
	if t.Zone != 0 {
		b = put16(b, ctaZone, t.Zone)
	}
	return b
}

var errNoAnswer = errors.New("no answer")

// ask sends a request that has one answer.
func (s *socket) ask(request []byte, f func(*message) error) error {
	if err := s.send(request); err != nil {
		return err
	}
	for {
		b, err := s.receive()
		switch {
		case err != nil:
			return err
		case b == nil:
			return errNoAnswer
		}
		for len(b) > 0 {
			var m message
			if b, err = m.cut(b); err != nil {
				return err
			}
			if m.seq != s.seq {
				continue // a late answer to an earlier request
			}
			if m.typ == unix.NLMSG_ERROR {
				return m.errno()
			}
			return f(&m)
		}
	}
}
