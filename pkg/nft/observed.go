package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// observed is the table as the kernel has it.
type observed struct {
	generation uint32
	exists     bool   // whether the table exists
	flags      uint32 // table flags
	owner      uint32 // the netlink port ID of the program that owns the table; 0 for none
	objects    map[string]object
	sets       map[string]*set
	chains     map[string]*chain
	reserved   []masq.PortRange // read at the generation of the rules
	handles    map[uint64]bool  // handles of the rules that were read
}

type object struct {
	kind     uint32
	kernel   string
	protocol uint8
	l3       uint16
}

type set struct {
	signature
	// The elements, if they were read: the bounds of an interval set, and for other sets
	// how they differ from the desired ones.
	bounds []bound
	*setDifference
}

// setDifference is the difference between the elements of a set and the desired ones.
type setDifference struct {
	exists     []bool          // for each desired element
	wrong      map[int]element // by index of the desired element
	unexpected []string        // keys
}

// signature has the properties that the kernel reports for a set.
type signature struct {
	flags, keyType, keyLen, dataType uint32
	counter                          bool
}

// String returns the properties with the kernel's numbers.
func (s signature) String() string {
	return fmt.Sprintf("key type %d of %d bytes, data type %d, flags %#x, counter %t", s.keyType, s.keyLen, s.dataType, s.flags, s.counter)
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
	count  netlink.Encoder // the counter as the kernel reports it; nil if the rule has none
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
		return errInterrupted // the chain was added between two dumps
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
		r.count = slices.Clone(all[i].data) // the buffer is reused for the next message
	}
	c.rules = append(c.rules, r)
	return nil
}

func (s *set) takeBound(x rawElement) error {
	s.bounds = append(s.bounds, bound{bytes.Clone(x.key), x.end, bytes.Clone(x.value)})
	return nil
}
