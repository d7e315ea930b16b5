package nft

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// hooks and priorities are by the names that nft gives them in the inet family.
var (
	hooks      = map[string]uint32{"prerouting": unix.NF_INET_PRE_ROUTING, "forward": unix.NF_INET_FORWARD, "postrouting": unix.NF_INET_POST_ROUTING}
	priorities = map[string]int32{"-450": -450, "mangle": -150, "srcnat - 1": 99}
)

const nfAccept = 1 // NF_ACCEPT

func addTable() op {
	var a netlink.Encoder
	a.Text(unix.NFTA_TABLE_NAME, ruleset.Name)
	a.Uint32(unix.NFTA_TABLE_FLAGS, 0)
	return op{typ: unix.NFT_MSG_NEWTABLE, flags: unix.NLM_F_CREATE, body: a, what: "add table inet masq"}
}

func deleteTable() op {
	var a netlink.Encoder
	a.Text(unix.NFTA_TABLE_NAME, ruleset.Name)
	return op{typ: unix.NFT_MSG_DELTABLE, body: a, what: "delete table inet masq", optional: true}
}

// The protocol numbers of conntrack helpers' control connections.
var helperProtocols = map[string]uint8{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP}

// l3Of is the family of a helper as the kernel shows it: one that exists for IPv4
// alone is shown as such, whatever was asked for.
func l3Of(o ruleset.Object) uint16 {
	if o.IPv4Only {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_INET
}

func addObject(o ruleset.Object) op {
	var data, a netlink.Encoder
	data.Text(unix.NFTA_CT_HELPER_NAME, o.Kernel)
	data.Bytes(unix.NFTA_CT_HELPER_L3PROTO, []byte{0, byte(l3Of(o))})
	data.Bytes(unix.NFTA_CT_HELPER_L4PROTO, []byte{helperProtocols[o.Protocol]})
	a.Text(unix.NFTA_OBJ_TABLE, ruleset.Name)
	a.Text(unix.NFTA_OBJ_NAME, o.Name)
	a.Uint32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_CT_HELPER)
	a.Nest(unix.NFTA_OBJ_DATA, data)
	return op{typ: unix.NFT_MSG_NEWOBJ, flags: unix.NLM_F_CREATE, body: a, what: "add ct helper " + o.Name}
}

func deleteObject(name string, kind uint32) op {
	var a netlink.Encoder
	a.Text(unix.NFTA_OBJ_TABLE, ruleset.Name)
	a.Text(unix.NFTA_OBJ_NAME, name)
	a.Uint32(unix.NFTA_OBJ_TYPE, kind)
	return op{typ: unix.NFT_MSG_DELOBJ, body: a, what: "delete object " + name}
}

// signatureOf is what the kernel is to show of a set.
func signatureOf(s ruleset.Set) (signature, error) {
	kt, err := parseType(s.Type)
	if err != nil {
		return signature{}, fmt.Errorf("set %s: %w", s.Name, err)
	}
	sig := signature{keyType: kt.number(), keyLen: uint32(kt.size()), counter: s.Counter}
	if s.Interval {
		sig.flags |= unix.NFT_SET_INTERVAL
	}
	if s.Verdict {
		sig.flags |= unix.NFT_SET_MAP
		sig.dataType = unix.NFT_DATA_VERDICT
	}
	return sig, nil
}

// libnftnl's user data of sets: what nft needs to print keys (enum
// nftnl_udata_set_types). It prints the types used here without, but writes the
// byte order itself, so the two cannot be told apart.
const (
	userdataKeyByteOrder = 0
	byteOrderHost        = 1
	byteOrderBig         = 2
)

// addSet creates a set. Sets of one transaction are told apart by a number.
func addSet(s ruleset.Set, id uint32) (op, error) {
	sig, err := signatureOf(s)
	if err != nil {
		return op{}, err
	}
	var a netlink.Encoder
	a.Text(unix.NFTA_SET_TABLE, ruleset.Name)
	a.Text(unix.NFTA_SET_NAME, s.Name)
	a.Uint32(unix.NFTA_SET_FLAGS, sig.flags)
	a.Uint32(unix.NFTA_SET_KEY_TYPE, sig.keyType)
	a.Uint32(unix.NFTA_SET_KEY_LEN, sig.keyLen)
	if s.Verdict {
		a.Uint32(unix.NFTA_SET_DATA_TYPE, sig.dataType)
		a.Uint32(unix.NFTA_SET_DATA_LEN, 16) // NFT_DATA_VALUE_MAXLEN would be 64; a verdict takes a register
	}
	a.Uint32(unix.NFTA_SET_ID, id)
	order := byte(byteOrderBig)
	if s.Type == "fib_addrtype" || s.Type == "ifname" {
		order = byteOrderHost
	}
	a.Bytes(unix.NFTA_SET_USERDATA, []byte{userdataKeyByteOrder, 4, order, 0, 0, 0})
	if s.Counter {
		a.Nest(nftaSetExpr, counterExpression())
	}
	return op{typ: unix.NFT_MSG_NEWSET, flags: unix.NLM_F_CREATE, body: a, what: "add set " + s.Name}, nil
}

func counterExpression() netlink.Encoder {
	var data, a netlink.Encoder
	data.Uint64(unix.NFTA_COUNTER_BYTES, 0)
	data.Uint64(unix.NFTA_COUNTER_PACKETS, 0)
	a.Text(unix.NFTA_EXPR_NAME, "counter")
	a.Nest(unix.NFTA_EXPR_DATA, data)
	return a
}

func deleteSet(name string) op {
	var a netlink.Encoder
	a.Text(unix.NFTA_SET_TABLE, ruleset.Name)
	a.Text(unix.NFTA_SET_NAME, name)
	return op{typ: unix.NFT_MSG_DELSET, body: a, what: "delete set " + name}
}

// An attribute holds 64 KiB at most: the list of elements in one message is ended
// where it is longer than this. An element takes some 250 bytes at most.
const listLength = 60 << 10

func flushSet(name string) op {
	return op{typ: unix.NFT_MSG_DELSETELEM, body: elementList(name, nil), what: "flush set " + name}
}

// addElements adds elements of a set; with exclusive it is an error
// (unix.EEXIST) if one is there.
func addElements(s ruleset.Set, all []ruleset.Element, exclusive bool) ([]op, error) {
	proto := op{typ: unix.NFT_MSG_NEWSETELEM, flags: unix.NLM_F_CREATE, what: "add element of " + s.Name}
	if exclusive {
		proto.flags |= unix.NLM_F_EXCL
	}
	if s.Interval {
		return addRanges(proto, s, all)
	}
	kt, err := parseType(s.Type)
	if err != nil {
		return nil, fmt.Errorf("set %s: %w", s.Name, err)
	}
	return elementOps(proto, s.Name, len(all), func(i int, a *netlink.Encoder) error {
		if err := putKey(a, kt, all[i].Key); err != nil {
			return fmt.Errorf("set %s: %w", s.Name, err)
		}
		if s.Verdict {
			data := a.BeginNest(unix.NFTA_SET_ELEM_DATA)
			verdict := a.BeginNest(unix.NFTA_DATA_VERDICT)
			a.Uint32(unix.NFTA_VERDICT_CODE, uint32(nftGoto))
			a.Text(unix.NFTA_VERDICT_CHAIN, all[i].Goto)
			a.End(verdict)
			a.End(data)
		}
		putComment(a, unix.NFTA_SET_ELEM_USERDATA, all[i].Comment)
		return nil
	})
}

func addRanges(proto op, s ruleset.Set, all []ruleset.Element) ([]op, error) {
	bounds, err := boundsOf(s, all)
	if err != nil {
		return nil, err
	}
	return elementOps(proto, s.Name, len(bounds), func(i int, a *netlink.Encoder) error {
		key := a.BeginNest(unix.NFTA_SET_ELEM_KEY)
		a.Bytes(unix.NFTA_DATA_VALUE, bounds[i].key)
		a.End(key)
		switch {
		case bounds[i].end:
			a.Uint32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
		case i == len(bounds)-1:
			// It has no end: nft marks it so (NFTNL_UDATA_SET_ELEM_FLAGS,
			// SET_ELEM_F_INTERVAL_OPEN).
			a.Bytes(unix.NFTA_SET_ELEM_USERDATA, []byte{1, 4, 1, 0, 0, 0})
		}
		return nil
	})
}

func boundsOf(s ruleset.Set, all []ruleset.Element) ([]bound, error) {
	kt, err := parseType(s.Type)
	if err != nil {
		return nil, fmt.Errorf("set %s: %w", s.Name, err)
	}
	keys := make([]string, len(all))
	for i, e := range all {
		keys[i] = e.Key
	}
	bounds, err := kt.bounds(keys)
	if err != nil {
		return nil, fmt.Errorf("set %s: %w", s.Name, err)
	}
	return bounds, nil
}

// deleteElements removes elements, one message each, so that one that is missing
// can be left out.
func deleteElements(s ruleset.Set, all []ruleset.Element) ([]op, error) {
	kt, err := parseType(s.Type)
	if err != nil {
		return nil, fmt.Errorf("set %s: %w", s.Name, err)
	}
	var out []op
	for _, e := range all {
		var items netlink.Encoder
		item := items.BeginNest(unix.NFTA_LIST_ELEM)
		if err := putKey(&items, kt, e.Key); err != nil {
			return nil, fmt.Errorf("set %s: %w", s.Name, err)
		}
		items.End(item)
		out = append(out, op{
			typ: unix.NFT_MSG_DELSETELEM, body: elementList(s.Name, items), optional: true,
			what: "delete element " + e.Key + " of " + s.Name,
		})
	}
	return out, nil
}

// putKey puts the key of an element.
func putKey(a *netlink.Encoder, kt keyType, key string) (err error) {
	at := a.BeginNest(unix.NFTA_SET_ELEM_KEY)
	value := a.Begin(unix.NFTA_DATA_VALUE)
	*a, err = kt.append(*a, key)
	a.End(value)
	a.End(at)
	return err
}

// elementOps makes messages of n elements, each of which put writes.
func elementOps(proto op, set string, n int, put func(i int, a *netlink.Encoder) error) ([]op, error) {
	var out []op
	for i := 0; i < n; {
		body := make(netlink.Encoder, 0, listLength+512)
		body.Text(unix.NFTA_SET_ELEM_LIST_TABLE, ruleset.Name)
		body.Text(unix.NFTA_SET_ELEM_LIST_SET, set)
		list := body.BeginNest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		for ; i < n && len(body)-list < listLength; i++ {
			item := body.BeginNest(unix.NFTA_LIST_ELEM)
			if err := put(i, &body); err != nil {
				return nil, err
			}
			body.End(item)
		}
		body.End(list)
		o := proto
		o.body = body
		out = append(out, o)
	}
	return out, nil
}

var nftGoto int32 = unix.NFT_GOTO

func addChain(c ruleset.Chain) op {
	var a netlink.Encoder
	a.Text(unix.NFTA_CHAIN_TABLE, ruleset.Name)
	a.Text(unix.NFTA_CHAIN_NAME, c.Name)
	if h := c.Hook; h != nil {
		var hook netlink.Encoder
		hook.Uint32(unix.NFTA_HOOK_HOOKNUM, hooks[h.Point])
		hook.Uint32(unix.NFTA_HOOK_PRIORITY, uint32(priorities[h.Priority]))
		a.Nest(unix.NFTA_CHAIN_HOOK, hook)
		a.Uint32(unix.NFTA_CHAIN_POLICY, nfAccept)
		a.Text(unix.NFTA_CHAIN_TYPE, h.Type)
	}
	return op{typ: unix.NFT_MSG_NEWCHAIN, flags: unix.NLM_F_CREATE, body: a, what: "add chain " + c.Name}
}

func deleteChain(name string) op {
	var a netlink.Encoder
	a.Text(unix.NFTA_CHAIN_TABLE, ruleset.Name)
	a.Text(unix.NFTA_CHAIN_NAME, name)
	return op{typ: unix.NFT_MSG_DELCHAIN, body: a, what: "delete chain " + name}
}

// addRule puts a rule before the one with the given handle, or last where the
// handle is 0. It counts on from what another in its place has counted, if any.
func addRule(chain string, r ruleset.Rule, before uint64, count netlink.Encoder) (op, error) {
	all, err := compile(r.Text)
	if err != nil {
		return op{}, err
	}
	if i := counterOf(all); i >= 0 && count != nil {
		all[i].data = count
	}
	var a netlink.Encoder
	a.Text(unix.NFTA_RULE_TABLE, ruleset.Name)
	a.Text(unix.NFTA_RULE_CHAIN, chain)
	a.Nest(unix.NFTA_RULE_EXPRESSIONS, list(all))
	putComment(&a, unix.NFTA_RULE_USERDATA, r.ID)
	o := op{typ: unix.NFT_MSG_NEWRULE, flags: unix.NLM_F_CREATE, what: "add rule " + r.ID}
	if before == 0 {
		o.flags |= unix.NLM_F_APPEND
	} else {
		a.Uint64(unix.NFTA_RULE_POSITION, before)
	}
	o.body = a
	return o, nil
}

// deleteRule removes a rule, or all of a chain where the handle is 0.
func deleteRule(chain string, handle uint64) op {
	var a netlink.Encoder
	a.Text(unix.NFTA_RULE_TABLE, ruleset.Name)
	a.Text(unix.NFTA_RULE_CHAIN, chain)
	if handle != 0 {
		a.Uint64(unix.NFTA_RULE_HANDLE, handle)
	}
	return op{typ: unix.NFT_MSG_DELRULE, body: a, what: fmt.Sprintf("delete rule %d of chain %s", handle, chain), optional: handle == 0}
}
