package nft

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// compareElements reads a set and compares it with the desired one.
func (c *Conn) compareElements(want ruleset.Set, into *set) error {
	kt, err := parseType(want.Type)
	if err != nil {
		return err
	}
	wanted, err := kt.index(want.Elements)
	if err != nil {
		return fmt.Errorf("set %s: %w", want.Name, err)
	}
	var d *setDifference
	reset := func() { d = &setDifference{exists: make([]bool, len(want.Elements)), wrong: map[int]element{}} }
	err = c.eachElement(want.Name, reset, func(x rawElement) error {
		i, ok := wanted.find(x.key)
		if !ok {
			key, err := kt.decode(x.key)
			d.unexpected = append(d.unexpected, key)
			return err
		}
		d.exists[i] = true
		if e := want.Elements[i]; string(x.chain) != e.Goto || string(x.comment) != e.Comment {
			d.wrong[i] = x.element()
		}
		return nil
	})
	slices.Sort(d.unexpected)
	d.unexpected = slices.Compact(d.unexpected) // an element can be listed twice: see readListing
	into.setDifference = d
	return err
}

// ranges reads an interval set.
func (c *Conn) ranges(name string, into *set) error {
	err := c.eachElement(name, func() { into.bounds = []bound{} }, into.takeBound)
	into.bounds = inOrder(into.bounds)
	return err
}

// elements returns the elements of a set by their keys.
func (c *Conn) elements(name, typ string) (map[string]element, error) {
	kt, err := parseType(typ)
	if err != nil {
		return nil, err
	}
	var all map[string]element
	err = c.eachElement(name, func() { all = map[string]element{} }, func(x rawElement) error {
		key, err := kt.decode(x.key)
		all[key] = x.element()
		return err
	})
	return all, err
}

// eachElement calls f with each element of a set. It calls reset before it starts, and
// before it starts again.
func (c *Conn) eachElement(set string, reset func(), f func(rawElement) error) error {
	err := c.dump(reset, unix.NFT_MSG_GETSETELEM, elementList(set, nil), func(b []byte) error {
		return eachElement(b, f)
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return errInterrupted // the set was deleted between two dumps
	case err != nil:
		return fmt.Errorf("read the elements of set %s: %w", set, err)
	}
	return nil
}

// element reads one element. found is false if it does not exist.
func (c *Conn) element(set, typ, key string) (e element, found bool, err error) {
	kt, err := parseType(typ)
	if err != nil {
		return e, false, err
	}
	raw, err := kt.append(nil, key)
	if err != nil {
		return e, false, err
	}
	var item, items netlink.Encoder
	var value netlink.Encoder
	value.Bytes(unix.NFTA_DATA_VALUE, raw)
	item.Nest(unix.NFTA_SET_ELEM_KEY, value)
	items.Nest(unix.NFTA_LIST_ELEM, item)
	b, err := c.get(unix.NFT_MSG_GETSETELEM, elementList(set, items))
	if err == nil {
		err = eachElement(b, func(x rawElement) error {
			e, found = x.element(), true
			return nil
		})
	}
	// Another program may have made a set of this name with keys of another length
	// (EINVAL).
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return e, false, nil
	}
	return e, found, err
}

func elementList(set string, items netlink.Encoder) netlink.Encoder {
	return elementsIn(ruleset.Name, set, items)
}

func elementsIn(table, set string, items netlink.Encoder) netlink.Encoder {
	var a netlink.Encoder
	a.Text(unix.NFTA_SET_ELEM_LIST_TABLE, table)
	a.Text(unix.NFTA_SET_ELEM_LIST_SET, set)
	if items != nil {
		a.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, items)
	}
	return a
}

// rawElement is an element in the buffer that it was read into, which is reused for the
// next one.
type rawElement struct {
	key            []byte
	end            bool
	chain, comment []byte
	value          []byte // in a map to values
}

func (x rawElement) element() element { return element{string(x.chain), string(x.comment)} }

func eachElement(b []byte, f func(rawElement) error) error {
	return each(b, func(typ uint16, list []byte) error {
		if typ != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			return nil
		}
		return each(list, func(_ uint16, item []byte) error {
			var x rawElement
			err := each(item, x.take)
			if err != nil {
				return err
			}
			return f(x)
		})
	})
}

// take reads one attribute of an element.
func (x *rawElement) take(typ uint16, data []byte) (err error) {
	switch typ {
	case unix.NFTA_SET_ELEM_KEY:
		x.key, err = inside(data, unix.NFTA_DATA_VALUE)
	case unix.NFTA_SET_ELEM_FLAGS:
		x.end = number(data)&unix.NFT_SET_ELEM_INTERVAL_END != 0
	case unix.NFTA_SET_ELEM_USERDATA:
		x.comment = comment(data)
	case unix.NFTA_SET_ELEM_DATA:
		var verdict []byte
		if x.value, err = inside(data, unix.NFTA_DATA_VALUE); err != nil {
			return err
		}
		if verdict, err = inside(data, unix.NFTA_DATA_VERDICT); err != nil {
			return err
		}
		x.chain, err = inside(verdict, unix.NFTA_VERDICT_CHAIN)
		x.chain = unended(x.chain)
	}
	return err
}
