package nft

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Owned is a table that exists only while its socket is open (NFT_TABLE_F_OWNER): the kernel
// deletes the table when the program ends, also after a SIGKILL. No other program can change
// it, and `nft flush ruleset` leaves it. It is for one goroutine at a time.
//
// Requires Linux 5.12.
type Owned struct {
	// The socket is for this table only and reads no dumps: Conn replaces the socket of a
	// dump that was not read to its end.
	conn *Conn
}

// OpenOwned returns an Owned for a table of the calling thread's network namespace. It does
// not make the table.
func OpenOwned(name string) (*Owned, error) {
	c, err := Open()
	if err != nil {
		return nil, err
	}
	c.table = name
	return &Owned{c}, nil
}

// Close closes the socket. The kernel deletes the table before Close returns.
func (o *Owned) Close() error { return o.conn.Close() }

// Replace makes the table the desired one in one transaction: it deletes the table, and makes
// it again unless the desired one has no chains. Counters start at zero. The error is an
// *OwnerError if another program owns a table with the name.
func (o *Owned) Replace(t ruleset.Table) error {
	ops := []op{deleteTable()}
	if len(t.Chains) > 0 {
		more, err := newTable(t)
		if err != nil {
			return explain(err)
		}
		ops = append(ops, more...)
	}
	return explain(o.commit(ops))
}

// Update deletes elements and adds others in one transaction. It is no error if an element to
// delete is missing, or if an element to add exists with the same value. To renew the timeout of
// an element, both delete and add it: if it is only added, its remaining time stays, except that
// Linux 6.12 and newer set a timeout that differs from the element's.
//
// The error is ErrConflict if an element to add exists with another value, and ErrStructure if
// the set or the chain of an element to add is missing. Then nothing is changed.
func (o *Owned) Update(add, remove []ruleset.SetElements) error {
	var ops []op
	for _, s := range remove {
		more, err := deleteElements(s.Set, s.Elements)
		if err != nil {
			return explain(err)
		}
		ops = append(ops, more...)
	}
	for _, s := range add {
		more, err := addElements(s.Set, s.Elements, false)
		if err != nil {
			return explain(err)
		}
		ops = append(ops, more...)
	}
	err := o.commit(ops)
	switch {
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.EBUSY):
		return ErrConflict
	case errors.Is(err, unix.ENOENT):
		return ErrStructure
	}
	return explain(err)
}

func (o *Owned) commit(ops []op) error {
	for i, x := range ops {
		if x.typ == unix.NFT_MSG_NEWTABLE || x.typ == unix.NFT_MSG_DELTABLE {
			x.what = "make or delete the table"
		}
		ops[i] = x.within(o.conn.table)
	}
	return o.conn.commit(ops, 0)
}

// newTable returns the messages that make an owned table.
func newTable(t ruleset.Table) ([]op, error) {
	table := addTable(flagTableOwner)
	table.flags |= unix.NLM_F_EXCL
	ops := []op{table}
	for i, s := range t.Sets {
		o, err := addSet(s, uint32(i+1))
		if err != nil {
			return nil, err
		}
		ops = append(ops, o)
	}
	for _, c := range t.Chains {
		ops = append(ops, addChain(c))
	}
	for _, s := range t.Sets {
		more, err := addElements(s, s.Elements, false)
		if err != nil {
			return nil, err
		}
		ops = append(ops, more...)
	}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			o, err := addRule(c.Name, r, 0, nil)
			if err != nil {
				return nil, err
			}
			ops = append(ops, o)
		}
	}
	return ops, nil
}
