package nft

import (
	"bytes"
	"encoding/binary"
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

func (s *set) takeBound(x rawElement) error {
	s.bounds = append(s.bounds, bound{bytes.Clone(x.key), x.end})
	return nil
}
