package conntrack

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Get looks up one flow by either of its tuples, which has to be complete. It is
// ErrNotFound where the table has none.
func (c *Conn) Get(t Tuple) (Flow, error) {
	if !t.Valid() {
		return Flow{}, fmt.Errorf("conntrack: look up %s: incomplete", t)
	}
	c.body = append(c.body[:0], header(t.family())...)
	t.key(&c.body)
	var f Flow
	m, err := c.asks.Get(msgGet, 0, c.body)
	if err == nil {
		err = f.UnmarshalBinary(attributes(m))
	}
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
func (t *Tuple) key(e *netlink.Encoder) {
	t.write(e, ctaTupleOrig, 0)
	if t.Zone != 0 {
		e.Uint16(ctaZone, t.Zone)
	}
}
