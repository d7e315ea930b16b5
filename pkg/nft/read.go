package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// observed is what the kernel has.
type observed struct {
	generation uint32
	exists     bool   // the table
	flags      uint32 // of the table
	owner      uint32 // the netlink port of the program that owns it; 0 for none
	objects    map[string]object
	sets       map[string]*set
	chains     map[string]*chain
	reserved   []masq.PortRange // of the same generation as the rules
	handles    map[uint64]bool  // of the rules that were read
}

type object struct {
	kind     uint32
	kernel   string
	protocol uint8
	l3       uint16
}

type set struct {
	signature
	// What was read of the elements, nil where nothing was: of an interval set the
	// bounds, of others how they differ from those that are wanted.
	bounds []bound
	*setDifference
}

// setDifference is how the elements of a set differ from those that are wanted.
type setDifference struct {
	there   []bool          // for each that is wanted
	wrong   map[int]element // those that are there, and not as they are wanted
	foreign []string        // the keys of those that nobody wants
}

// signature is what makes a set what it is, as the kernel shows it.
type signature struct {
	flags, keyType, keyLen, dataType uint32
	counter                          bool
}

type element struct{ chain, comment string }

// in returns the element of a live set that has a key.
func (e element) in(set, key string) ruleset.LiveElement {
	return ruleset.LiveElement{Set: set, Element: ruleset.Element{Key: key, Goto: e.chain, Comment: e.comment}}
}

type chain struct {
	base     bool
	kind     string
	hook     uint32
	priority int32
	policy   uint32
	uses     uint32 // rules, and references by rules and elements
	rules    []rule
}

type rule struct {
	handle uint64
	id     string          // its comment
	print  string          // fingerprint
	count  netlink.Encoder // what it has counted, as the kernel shows it; nil where it does not count
}

// generation asks for the number of the ruleset's present version.
func (c *Conn) generation() (uint32, error) {
	b, err := c.get(unix.NFT_MSG_GETGEN, nil)
	if err != nil {
		return 0, err
	}
	f, err := fields(b)
	return number(f[unix.NFTA_GEN_ID]), err
}

// ofTable is a request's attribute that restricts an answer to the table. It is
// attribute 1 in all of them (NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, ...).
func ofTable() netlink.Encoder {
	var a netlink.Encoder
	a.Text(unix.NFTA_CHAIN_TABLE, ruleset.Name)
	return a
}

// structure reads everything but the elements of sets. Its cost follows the number
// of policies, not that of attachments.
func (c *Conn) structure() (*observed, error) {
	o := &observed{objects: map[string]object{}, sets: map[string]*set{}, chains: map[string]*chain{}, handles: map[uint64]bool{}}
	var err error
	if o.generation, err = c.generation(); err != nil {
		return nil, fmt.Errorf("read the generation of the ruleset: %w", err)
	}
	b, err := c.get(unix.NFT_MSG_GETTABLE, ofTable())
	if errors.Is(err, unix.ENOENT) {
		return o, nil
	}
	var f map[uint16][]byte
	if err == nil {
		f, err = fields(b)
	}
	if err != nil {
		return nil, fmt.Errorf("read table: %w", err)
	}
	o.exists, o.flags, o.owner = true, number(f[unix.NFTA_TABLE_FLAGS]), ownerOf(f)
	for _, p := range []listing{
		{"objects", unix.NFT_MSG_GETOBJ, func() { clear(o.objects) }, o.takeObject},
		{"sets", unix.NFT_MSG_GETSET, func() { clear(o.sets) }, o.takeSet},
	} {
		if err := c.readListing(p); err != nil {
			return nil, err
		}
	}
	return o, c.chains(o)
}

// chains reads the chains, their rules and the reserved ports, all of one generation. The
// kernel reports that a list changed only if another part of it follows (NLM_F_DUMP_INTR):
// the last part may lack the old rules and the new ones.
func (c *Conn) chains(o *observed) (err error) {
	for range readAttempts {
		if err = c.chainsOnce(o); !errors.Is(err, errInterrupted) {
			return err
		}
	}
	return err
}

func (c *Conn) chainsOnce(o *observed) error {
	before, err := c.generation()
	if err != nil {
		return fmt.Errorf("read the generation of the ruleset: %w", err)
	}
	for _, p := range []listing{
		{"chains", unix.NFT_MSG_GETCHAIN, func() { clear(o.chains) }, o.takeChain},
		{"rules", unix.NFT_MSG_GETRULE, o.forgetRules, o.takeRule},
	} {
		if err := c.readListing(p); err != nil {
			return err
		}
	}
	if o.reserved, err = c.reservedPorts(o); err != nil {
		return err
	}
	after, err := c.generation()
	if err != nil {
		return fmt.Errorf("read the generation of the ruleset: %w", err)
	}
	if after != before {
		return errInterrupted
	}
	return nil
}

// listing is what one dump reads of the table.
type listing struct {
	name   string
	typ    int
	forget func()
	take   func(map[uint16][]byte) error
}

// readListing reads one listing. The kernel can list an object twice without a sign: it
// continues each part of a list at a position that counts the objects of a transaction
// that has not been committed (__nf_tables_dump_rules in nf_tables_api.c).
func (c *Conn) readListing(p listing) error {
	err := c.dump(p.forget, p.typ, ofTable(), func(b []byte) error {
		f, err := fields(b)
		if err != nil {
			return err
		}
		if netlink.Text(f[unix.NFTA_CHAIN_TABLE]) != ruleset.Name {
			return nil // chains are dumped for all tables
		}
		return p.take(f)
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("read %s: %w", p.name, err)
	}
	return nil
}

func (o *observed) takeObject(f map[uint16][]byte) error {
	data, err := fields(f[unix.NFTA_OBJ_DATA])
	if err != nil {
		return err
	}
	x := object{kind: number(f[unix.NFTA_OBJ_TYPE]), kernel: netlink.Text(data[unix.NFTA_CT_HELPER_NAME])}
	if b := data[unix.NFTA_CT_HELPER_L4PROTO]; len(b) == 1 {
		x.protocol = b[0]
	}
	if b := data[unix.NFTA_CT_HELPER_L3PROTO]; len(b) == 2 {
		x.l3 = binary.BigEndian.Uint16(b)
	}
	o.objects[netlink.Text(f[unix.NFTA_OBJ_NAME])] = x
	return nil
}

func (o *observed) takeSet(f map[uint16][]byte) error {
	s := &set{signature: signature{
		flags:    number(f[unix.NFTA_SET_FLAGS]),
		keyType:  number(f[unix.NFTA_SET_KEY_TYPE]),
		keyLen:   number(f[unix.NFTA_SET_KEY_LEN]),
		dataType: number(f[unix.NFTA_SET_DATA_TYPE]),
	}}
	if e, ok := f[nftaSetExpr]; ok {
		x, err := fields(e)
		if err != nil {
			return err
		}
		s.counter = netlink.Text(x[unix.NFTA_EXPR_NAME]) == "counter"
	}
	o.sets[netlink.Text(f[unix.NFTA_SET_NAME])] = s
	return nil
}

func (o *observed) takeChain(f map[uint16][]byte) error {
	c := &chain{uses: number(f[unix.NFTA_CHAIN_USE])}
	if h, ok := f[unix.NFTA_CHAIN_HOOK]; ok {
		hook, err := fields(h)
		if err != nil {
			return err
		}
		c.base = true
		c.kind = netlink.Text(f[unix.NFTA_CHAIN_TYPE])
		c.hook = number(hook[unix.NFTA_HOOK_HOOKNUM])
		c.priority = int32(number(hook[unix.NFTA_HOOK_PRIORITY]))
		c.policy = number(f[unix.NFTA_CHAIN_POLICY])
	}
	o.chains[netlink.Text(f[unix.NFTA_CHAIN_NAME])] = c
	return nil
}

func (o *observed) forgetRules() {
	clear(o.handles)
	for _, c := range o.chains {
		c.rules = nil
	}
}

func (o *observed) takeRule(f map[uint16][]byte) error {
	c := o.chains[netlink.Text(f[unix.NFTA_RULE_CHAIN])]
	if c == nil {
		return errInterrupted // the chain came between two dumps
	}
	handle := number64(f[unix.NFTA_RULE_HANDLE])
	if o.handles[handle] {
		return nil // listed twice: see readListing
	}
	o.handles[handle] = true
	all, err := parseList(f[unix.NFTA_RULE_EXPRESSIONS])
	if err != nil {
		return err
	}
	r := rule{handle: handle, id: string(comment(f[unix.NFTA_RULE_USERDATA])), print: fingerprint(all)}
	if i := counterOf(all); i >= 0 {
		r.count = slices.Clone(all[i].data) // the buffer is used again for the next message
	}
	c.rules = append(c.rules, r)
	return nil
}

// Comments are kept in the user data of rules and elements, in libnftnl's own
// notation: type, length, value, with the type 0 for a comment in both.
const userdataComment = 0

// comment reads it from user data; empty where there is none.
func comment(b []byte) []byte {
	for len(b) >= 2 {
		typ, n := b[0], int(b[1])
		if 2+n > len(b) {
			return nil
		}
		if typ == userdataComment {
			return unended(b[2 : 2+n])
		}
		b = b[2+n:]
	}
	return nil
}

// putComment is the inverse of comment. The length has to fit one byte; IDs and
// identities do.
func putComment(a *netlink.Encoder, typ uint16, s string) {
	if s == "" {
		return
	}
	at := a.Begin(typ)
	*a = append(*a, userdataComment, byte(len(s)+1))
	*a = append(append(*a, s...), 0)
	a.End(at)
}

// compare reads a set against what is wanted of it.
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
	forget := func() { d = &setDifference{there: make([]bool, len(want.Elements)), wrong: map[int]element{}} }
	err = c.eachElement(want.Name, forget, func(x rawElement) error {
		i, ok := wanted.find(x.key)
		if !ok {
			key, err := kt.decode(x.key)
			d.foreign = append(d.foreign, key)
			return err
		}
		d.there[i] = true
		if e := want.Elements[i]; string(x.chain) != e.Goto || string(x.comment) != e.Comment {
			d.wrong[i] = x.element()
		}
		return nil
	})
	slices.Sort(d.foreign)
	d.foreign = slices.Compact(d.foreign) // an element can be listed twice: see readListing
	into.setDifference = d
	return err
}

// ranges reads an interval set.
func (c *Conn) ranges(name string, into *set) error {
	err := c.eachElement(name, func() { into.bounds = []bound{} }, into.takeBound)
	into.bounds = inOrder(into.bounds)
	return err
}

func (s *set) takeBound(x rawElement) error {
	s.bounds = append(s.bounds, bound{bytes.Clone(x.key), x.end})
	return nil
}

// elements reads the elements of a set, by their keys.
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

// eachElement calls f with each element of a set, again from the first after forget.
func (c *Conn) eachElement(set string, forget func(), f func(rawElement) error) error {
	err := c.dump(forget, unix.NFT_MSG_GETSETELEM, elementList(set, nil), func(b []byte) error {
		return eachElement(b, f)
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return errInterrupted // the set went between two dumps
	case err != nil:
		return fmt.Errorf("read the elements of set %s: %w", set, err)
	}
	return nil
}

// element reads one element; found is false where there is none.
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
	// Another program may have made a set of this name with keys of another length (EINVAL).
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return e, false, nil
	}
	return e, found, err
}

func elementList(set string, items netlink.Encoder) netlink.Encoder {
	var a netlink.Encoder
	a.Text(unix.NFTA_SET_ELEM_LIST_TABLE, ruleset.Name)
	a.Text(unix.NFTA_SET_ELEM_LIST_SET, set)
	if items != nil {
		a.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, items)
	}
	return a
}

// rawElement is an element in the buffer that it was read into, which is used again
// for the next.
type rawElement struct {
	key            []byte
	end            bool
	chain, comment []byte
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

// take notes one attribute of an element.
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
		if verdict, err = inside(data, unix.NFTA_DATA_VERDICT); err != nil {
			return err
		}
		x.chain, err = inside(verdict, unix.NFTA_VERDICT_CHAIN)
		x.chain = unended(x.chain)
	}
	return err
}
