package conntrack

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Get returns the flow that has this tuple, which has to be complete, as its original or
// reply tuple. The error is ErrNotFound if the table does not have the flow.
func (c *Conn) Get(t Tuple) (Flow, error) {
	if !t.Valid() {
		return Flow{}, fmt.Errorf("conntrack: look up %s: the tuple is incomplete", t)
	}
	c.body = append(c.body[:0], header(t.family())...)
	t.key(&c.body)
	var f Flow
	m, err := c.requests.Get(msgGet, 0, c.body)
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

// key appends the attributes by which the kernel finds a flow. The kernel compares both
// directions, also for CTA_TUPLE_ORIG, with the zone of the matching direction
// (nf_conntrack_find_get).
func (t *Tuple) key(e *netlink.Encoder) {
	t.write(e, ctaTupleOrig, 0)
	if t.Zone != 0 {
		e.Uint16(ctaZone, t.Zone)
	}
}
