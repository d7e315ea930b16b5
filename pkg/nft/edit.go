package nft

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Element reads one element of a live set. found is false if the element or its set does
// not exist.
func (c *Conn) Element(set, key string) (e ruleset.LiveElement, found bool, err error) {
	s, ok := ruleset.LiveSet(set)
	if !ok {
		return e, false, fmt.Errorf("nftables: %q is not the name of a live set", set)
	}
	x, found, err := c.element(set, s.Type, key)
	if err != nil || !found {
		return e, false, explain(err)
	}
	return x.in(set, key), true, nil
}

// Edit deletes elements of live sets and adds others in one transaction. It succeeds if an
// element to add exists and leads to the same chain, or if an element to delete is
// missing.
//
// With a generation other than 0, the error is ErrConflict if the ruleset is of another
// generation. It is also ErrConflict if an element to add exists and leads to another
// chain, and ErrStructure if a chain or a set is missing. large says that the Watcher
// missed concurrent changes by other programs.
func (c *Conn) Edit(add, remove []ruleset.LiveElement, generation uint32) (large bool, err error) {
	var ops []op
	for _, part := range []struct {
		all []ruleset.LiveElement
		ops func(ruleset.Set, []ruleset.Element) ([]op, error)
	}{
		{remove, deleteElements},
		{add, func(s ruleset.Set, all []ruleset.Element) ([]op, error) { return addElements(s, all, false) }},
	} {
		bySet := map[string][]ruleset.Element{}
		var names []string
		for _, e := range part.all {
			if bySet[e.Set] == nil {
				names = append(names, e.Set)
			}
			bySet[e.Set] = append(bySet[e.Set], e.Element)
		}
		for _, name := range names {
			s, ok := ruleset.LiveSet(name)
			if !ok {
				return false, fmt.Errorf("nftables: %q is not the name of a live set", name)
			}
			more, err := part.ops(s, bySet[name])
			if err != nil {
				return false, err
			}
			ops = append(ops, more...)
		}
	}
	err = c.commitAlone(ops, generation)
	switch {
	case errors.Is(err, errStale), errors.Is(err, unix.EEXIST), errors.Is(err, unix.EBUSY):
		return false, ErrConflict
	case errors.Is(err, unix.ENOENT):
		return false, ErrStructure
	}
	return isLarge(ops), explain(err)
}
