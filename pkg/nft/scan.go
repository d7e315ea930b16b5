package nft

import (
	"errors"

	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Scan compares the elements of live sets with the desired ones, and returns the
// differences. It skips sets that do not exist. complete is false if a set changed during
// each of several attempts: then differences may be wrong or missing, and the caller must
// read each element before it changes it.
func (c *Conn) Scan(want ruleset.Table) (changes []Difference, complete bool, err error) {
	complete = true
	for _, s := range want.Sets {
		if !s.Live {
			continue
		}
		found, held, err := c.scan(s)
		if err != nil {
			return nil, false, explain(err)
		}
		changes, complete = append(changes, found...), complete && held
	}
	return changes, complete, nil
}

func (c *Conn) scan(s ruleset.Set) (changes []Difference, complete bool, err error) {
	have := &set{}
	if err = c.compareElements(s, have); err != nil && !errors.Is(err, errInterrupted) {
		return nil, false, err
	}
	if have.setDifference == nil {
		return nil, err == nil, nil
	}
	p := &planner{have: &observed{exists: true, sets: map[string]*set{s.Name: have}}}
	if failed := p.keys(s, have.setDifference); failed != nil {
		return nil, false, failed
	}
	return p.changes, err == nil, nil
}
