package nft

import (
	"errors"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Apply makes the whole table the desired one in one transaction, and returns the
// differences that it found. If the desired table is empty, Apply deletes the table.
func (c *Conn) Apply(want ruleset.Table) (changes []Difference, err error) {
	err = retry(func() error {
		p, err := c.compare(want, nil)
		if err != nil {
			return err
		}
		changes = p.changes
		return c.commitAlone(p.ops, p.have.generation)
	})
	return changes, explain(err)
}

// large is the size of a transaction, in bytes, above which the Watcher does not receive
// it: some hundred elements.
const large = 32 << 10

// commitAlone unsubscribes the Watcher while it makes a large transaction. Otherwise the
// kernel would write a notification for each element, which is a third of the work, and
// the Watcher would ignore it. The Watcher misses transactions that other programs make at
// that time, and detects this by the next generation, which is not consecutive.
func (c *Conn) commitAlone(ops []op, generation uint32) error {
	if c.watch == nil || !isLarge(ops) {
		return c.commit(ops, generation)
	}
	if err := c.watch.pause(); err != nil {
		return err
	}
	err := c.commit(ops, generation)
	return errors.Join(err, c.watch.resume())
}

func isLarge(ops []op) bool {
	size := 0
	for _, o := range ops {
		size += len(o.body)
	}
	return size >= large
}

// Drift returns how the table differs from the desired one. The objects of pending belong
// to attachments that the plugin is adding or removing: they are neither missing nor
// unexpected.
func (c *Conn) Drift(want, pending ruleset.Table) ([]Difference, error) {
	var all []Difference
	err := retry(func() error {
		p, err := c.compare(want, contentsOf(pending))
		if err == nil {
			all = p.changes
		}
		return err
	})
	return all, explain(err)
}

func (c *Conn) compare(want ruleset.Table, pending contents) (*planner, error) {
	have, err := c.structure()
	if err != nil {
		return nil, err
	}
	if len(want.Chains) == 0 {
		p := &planner{have: have}
		if have.exists && len(pending) == 0 {
			p.found(Difference{Kind: KindTable, Reason: masq.Unexpected, Object: tableName})
			p.ops = []op{deleteTable()}
		}
		return p, nil
	}
	for _, s := range want.Sets {
		if err := c.read(s, have.sets[s.Name]); err != nil {
			return nil, err
		}
	}
	p, err := plan(want, have, whole, pending)
	if err == nil {
		p.have = have
	}
	return p, err
}

// read reads the elements of a set, if it exists and was not read with the rules.
func (c *Conn) read(want ruleset.Set, have *set) error {
	sig, err := signatureOf(want)
	switch {
	case err != nil:
		return err
	case have == nil, have.signature != sig: // it has keys of another type, and is made again
		return nil
	case have.bounds != nil:
		return nil
	case want.Interval:
		return c.ranges(want.Name, have)
	}
	return c.compareElements(want, have)
}
