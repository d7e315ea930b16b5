package nft

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// observed is what the kernel has.
type observed struct {
	generation uint32
	exists     bool   // the table
	flags      uint32 // of the table
	objects    map[string]object
	sets       map[string]*set
	chains     map[string]*chain
}

type object struct {
	kind     uint32
	kernel   string
	protocol uint8
	l3       uint16
}

type set struct {
	signature
	// elements are by key; nil where they were not read. Of an interval set the
	// bounds are kept instead.
	elements map[string]element
	bounds   []bound
}

// signature is what makes a set what it is, as the kernel shows it.
type signature struct {
	flags, keyType, keyLen, dataType uint32
	counter                          bool
}

type element struct {
	chain          string
	comment        string
	packets, bytes uint64
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
	handle         uint64
	id             string // its comment
	print          string // fingerprint
	packets, bytes uint64
	counted        bool
}

// generation asks for the number of the ruleset's present version.
func (s *socket) generation() (uint32, error) {
	var gen uint32
	err := s.get(unix.NFT_MSG_GETGEN, 0, nil, func(b []byte) error {
		f, err := fields(b)
		gen = number(f[unix.NFTA_GEN_ID])
		return err
	})
	return gen, err
}

// ofTable is a request's attribute that restricts an answer to the table. It is
// attribute 1 in all of them (NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, ...).
func ofTable() attrs {
	var a attrs
	a.text(unix.NFTA_CHAIN_TABLE, ruleset.Name)
	return a
}

// structure reads everything but the elements of sets. Its cost follows the number
// of policies, not that of attachments.
func (s *socket) structure() (*observed, error) {
	o := &observed{objects: map[string]object{}, sets: map[string]*set{}, chains: map[string]*chain{}}
	var err error
	if o.generation, err = s.generation(); err != nil {
		return nil, fmt.Errorf("read the generation of the ruleset: %w", err)
	}
	err = s.get(unix.NFT_MSG_GETTABLE, 0, ofTable(), func(b []byte) error {
		f, err := fields(b)
		o.exists, o.flags = true, number(f[unix.NFTA_TABLE_FLAGS])
		return err
	})
	if errors.Is(err, unix.ENOENT) {
		return o, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read table: %w", err)
	}
	for _, part := range []struct {
		name string
		typ  int
		take func(map[uint16][]byte) error
	}{
		{"objects", unix.NFT_MSG_GETOBJ, o.takeObject},
		{"sets", unix.NFT_MSG_GETSET, o.takeSet},
		{"chains", unix.NFT_MSG_GETCHAIN, o.takeChain},
		{"rules", unix.NFT_MSG_GETRULE, o.takeRule},
	} {
		err := s.get(part.typ, unix.NLM_F_DUMP, ofTable(), func(b []byte) error {
			f, err := fields(b)
			if err != nil {
				return err
			}
			if text(f[unix.NFTA_CHAIN_TABLE]) != ruleset.Name {
				return nil // chains are dumped for all tables
			}
			return part.take(f)
		})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("read %s: %w", part.name, err)
		}
	}
	return o, nil
}

func (o *observed) takeObject(f map[uint16][]byte) error {
	data, err := fields(f[unix.NFTA_OBJ_DATA])
	if err != nil {
		return err
	}
	x := object{kind: number(f[unix.NFTA_OBJ_TYPE]), kernel: text(data[unix.NFTA_CT_HELPER_NAME])}
	if b := data[unix.NFTA_CT_HELPER_L4PROTO]; len(b) == 1 {
		x.protocol = b[0]
	}
	if b := data[unix.NFTA_CT_HELPER_L3PROTO]; len(b) == 2 {
		x.l3 = binary.BigEndian.Uint16(b)
	}
	o.objects[text(f[unix.NFTA_OBJ_NAME])] = x
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
		s.counter = text(x[unix.NFTA_EXPR_NAME]) == "counter"
	}
	o.sets[text(f[unix.NFTA_SET_NAME])] = s
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
		c.kind = text(f[unix.NFTA_CHAIN_TYPE])
		c.hook = number(hook[unix.NFTA_HOOK_HOOKNUM])
		c.priority = int32(number(hook[unix.NFTA_HOOK_PRIORITY]))
		c.policy = number(f[unix.NFTA_CHAIN_POLICY])
	}
	o.chains[text(f[unix.NFTA_CHAIN_NAME])] = c
	return nil
}

func (o *observed) takeRule(f map[uint16][]byte) error {
	c := o.chains[text(f[unix.NFTA_RULE_CHAIN])]
	if c == nil {
		return errInterrupted // the chain came between two dumps
	}
	all, err := parseList(f[unix.NFTA_RULE_EXPRESSIONS])
	if err != nil {
		return err
	}
	r := rule{handle: number64(f[unix.NFTA_RULE_HANDLE]), id: comment(f[unix.NFTA_RULE_USERDATA]), print: fingerprint(all)}
	for _, e := range all {
		if e.name != "counter" {
			continue
		}
		x, err := fields(e.data)
		if err != nil {
			return err
		}
		r.counted, r.packets, r.bytes = true, number64(x[unix.NFTA_COUNTER_PACKETS]), number64(x[unix.NFTA_COUNTER_BYTES])
	}
	c.rules = append(c.rules, r)
	return nil
}

// Comments are kept in the user data of rules and elements, in libnftnl's own
// notation: type, length, value, with the type 0 for a comment in both.
const userdataComment = 0

// comment reads it from user data; empty where there is none.
func comment(b []byte) string {
	for len(b) >= 2 {
		typ, n := b[0], int(b[1])
		if 2+n > len(b) {
			return ""
		}
		if typ == userdataComment {
			return text(b[2 : 2+n])
		}
		b = b[2+n:]
	}
	return ""
}

// putComment is the inverse of comment. The length has to fit one byte; IDs and
// identities do.
func putComment(a *attrs, typ uint16, s string) {
	if s == "" {
		return
	}
	b := append([]byte{userdataComment, byte(len(s) + 1)}, s...)
	a.put(typ, append(b, 0))
}

// elements reads the elements of a set.
func (s *socket) elements(name string, want ruleset.Set, into *set) error {
	kt, err := parseType(want.Type)
	if err != nil {
		return err
	}
	into.elements, into.bounds = map[string]element{}, nil
	err = s.get(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, elementList(name, nil), func(b []byte) error {
		return eachElement(b, func(key []byte, end bool, e element) error {
			if want.Interval {
				into.bounds = append(into.bounds, bound{key, end})
				return nil
			}
			k, err := kt.decode(key)
			into.elements[k] = e
			return err
		})
	})
	if errors.Is(err, unix.ENOENT) {
		return errInterrupted // the set went between two dumps
	}
	if err != nil {
		return fmt.Errorf("read the elements of set %s: %w", name, err)
	}
	sortBounds(into.bounds)
	return nil
}

// element reads one element; found is false where there is none.
func (s *socket) element(set, typ, key string) (e element, found bool, err error) {
	kt, err := parseType(typ)
	if err != nil {
		return e, false, err
	}
	raw, err := kt.encode(key)
	if err != nil {
		return e, false, err
	}
	var item, items attrs
	var value attrs
	value.put(unix.NFTA_DATA_VALUE, raw)
	item.nest(unix.NFTA_SET_ELEM_KEY, value)
	items.nest(unix.NFTA_LIST_ELEM, item)
	err = s.get(unix.NFT_MSG_GETSETELEM, 0, elementList(set, items), func(b []byte) error {
		return eachElement(b, func(_ []byte, _ bool, x element) error {
			e, found = x, true
			return nil
		})
	})
	if errors.Is(err, unix.ENOENT) {
		return e, false, nil
	}
	return e, found, err
}

func elementList(set string, items attrs) attrs {
	var a attrs
	a.text(unix.NFTA_SET_ELEM_LIST_TABLE, ruleset.Name)
	a.text(unix.NFTA_SET_ELEM_LIST_SET, set)
	if items != nil {
		a.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, items)
	}
	return a
}

func eachElement(b []byte, f func(key []byte, end bool, e element) error) error {
	lists, err := fields(b)
	if err != nil {
		return err
	}
	return each(lists[unix.NFTA_SET_ELEM_LIST_ELEMENTS], func(_ uint16, item []byte) error {
		x, err := fields(item)
		if err != nil {
			return err
		}
		key, err := fields(x[unix.NFTA_SET_ELEM_KEY])
		if err != nil {
			return err
		}
		e := element{comment: comment(x[unix.NFTA_SET_ELEM_USERDATA])}
		if d, ok := x[unix.NFTA_SET_ELEM_DATA]; ok {
			data, err := fields(d)
			if err != nil {
				return err
			}
			_, e.chain = parseVerdict(data[unix.NFTA_DATA_VERDICT])
		}
		if c, ok := x[unix.NFTA_SET_ELEM_EXPR]; ok {
			expr, err := fields(c)
			if err != nil {
				return err
			}
			data, err := fields(expr[unix.NFTA_EXPR_DATA])
			if err != nil {
				return err
			}
			e.packets, e.bytes = number64(data[unix.NFTA_COUNTER_PACKETS]), number64(data[unix.NFTA_COUNTER_BYTES])
		}
		// The buffer is used again for the next message.
		return f(append([]byte(nil), key[unix.NFTA_DATA_VALUE]...), number(x[unix.NFTA_SET_ELEM_FLAGS])&unix.NFT_SET_ELEM_INTERVAL_END != 0, e)
	})
}
