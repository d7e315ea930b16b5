package nft

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Check returns the differences of the rules and elements that an attachment needs. has is
// as for Add.
//
// A transaction increases the ruleset's generation a moment before the kernel lists its
// rules (nf_tables_commit in nf_tables_api.c), so a difference counts only if it is found
// twice.
func (c *Conn) Check(a masq.Attachment, has func(netip.Addr) (bool, error)) ([]Difference, error) {
	changes, err := c.checkOnce(a, has)
	if err != nil || len(changes) == 0 {
		return nil, err
	}
	return c.checkOnce(a, has)
}

func (c *Conn) checkOnce(a masq.Attachment, has func(netip.Addr) (bool, error)) ([]Difference, error) {
	var changes []Difference
	err := retry(func() error {
		have, err := c.structure()
		if err != nil {
			return err
		}
		want, err := tableOf([]masq.Attachment{a}, has, have.reserved)
		if err != nil {
			return err
		}
		for _, s := range want.Sets {
			if s.Live {
				continue // they are read one by one, below
			}
			if err := c.read(s, have.sets[s.Name]); err != nil {
				return err
			}
		}
		p, err := plan(want, have, part, nil)
		if err != nil && !errors.Is(err, errRebuild) {
			return err
		}
		for _, s := range want.Sets {
			if !s.Live || have.sets[s.Name] == nil {
				continue
			}
			for _, e := range s.Elements {
				x, found, err := c.element(s.Name, s.Type, e.Key)
				switch {
				case err != nil:
					return fmt.Errorf("read element %s of %s: %w", e.Key, s.Name, err)
				case !found:
					p.found(Difference{Kind: KindElement, Reason: masq.Missing, Parent: s.Name, Object: e.Key})
				case x.chain != e.Goto || x.comment != e.Comment:
					p.found(ChangedElement(x.in(s.Name, e.Key)))
				}
			}
		}
		changes = p.changes
		return nil
	})
	return changes, explain(err)
}
