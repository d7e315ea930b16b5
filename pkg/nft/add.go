package nft

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Add puts an attachment under its policy. It mends what is missing of the rules
// that the attachment needs. all returns every attachment of the node, this one
// included: it is asked only where the whole table has to be made.
func (c *Conn) Add(a masq.Attachment, all func() ([]masq.Attachment, error)) error {
	want := ruleset.For([]masq.Attachment{a}, ruleset.Sources{})
	replace := false
	err := retry(func() error {
		have, err := c.s.structure()
		if err != nil {
			return err
		}
		p, err := plan(want, have, part, nil)
		if !have.exists || errors.Is(err, errRebuild) {
			// The records are read after the rules: what others add from here on makes
			// the transaction stale.
			attachments, err := all()
			if err != nil {
				return err
			}
			p, err := plan(ruleset.For(attachments, ruleset.Sources{}), have, whole, nil)
			if err != nil {
				return err
			}
			return c.s.commit(p.ops, have.generation)
		}
		if err != nil {
			return err
		}
		ops, guard := p.ops, uint32(0)
		if len(ops) > 0 || replace {
			guard = have.generation
		}
		if replace {
			others, err := c.evict(a, have)
			if err != nil {
				return err
			}
			ops = append(ops, others...)
		}
		for _, s := range want.Sets {
			if !s.Live || len(s.Elements) == 0 {
				continue
			}
			// An element that is there would silently keep its comment, and with
			// it its owner.
			add, err := addElements(s, s.Elements, s.Verdict && !replace)
			if err != nil {
				return err
			}
			ops = append(ops, add...)
		}
		err = c.s.commit(ops, guard)
		switch {
		case errors.Is(err, unix.EEXIST) && !replace:
			replace = true
			return errStale
		case errors.Is(err, unix.ENOENT) && guard == 0:
			return errStale // a chain went between the look and the change
		}
		return err
	})
	return explain(err)
}

// evict removes from all sets what other attachments left there for the addresses
// of this one. A runtime that gives an address again has forgotten who had it.
func (c *Conn) evict(a masq.Attachment, have *observed) ([]op, error) {
	var out []op
	for _, addr := range a.Addresses {
		ops, err := c.forget(addr, have, removed{})
		if err != nil {
			return nil, err
		}
		out = append(out, ops...)
	}
	return out, nil
}
