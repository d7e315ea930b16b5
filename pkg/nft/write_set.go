package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// signatureOf returns the signature that the kernel should report for a set.
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
	if s.MSS {
		sig.flags |= unix.NFT_SET_MAP
		sig.dataType = dataInteger
	}
	if s.Data != "" {
		data, err := parseType(s.Data)
		if err != nil {
			return signature{}, fmt.Errorf("map %s: %w", s.Name, err)
		}
		sig.flags |= unix.NFT_SET_MAP
		sig.dataType = data.number()
	}
	if s.Timeout {
		sig.flags |= unix.NFT_SET_TIMEOUT
	}
	return sig, nil
}

// These are libnftnl's user data of sets (enum nftnl_udata_set_types). nft prints the
// types used here without them, but writes the byte order too, so that its sets and ours
// are equal.
const (
	userdataKeyByteOrder = 0
	byteOrderHost        = 1
	byteOrderBig         = 2
)

// Values of maps to maximum segment sizes.
const (
	dataInteger = 4 // nft's number of the type (TYPE_INTEGER in its include/datatype.h)
	mssLen      = 2 // RFC 9293, section 3.2
)

// mssUserdata is the user data of a map to maximum segment sizes. Without it nft cannot list
// the map: an MSS has no named type, so nft writes "typeof ip daddr : tcp option maxseg size".
// Each item is type, length and value, in the host's byte order.
func mssUserdata(keyType string) []byte {
	// Numbers of libnftnl's and nft's headers: NFTNL_UDATA_SET_KEYBYTEORDER and the types after
	// it; for a typeof, the kind of the expression (EXPR_PAYLOAD, EXPR_EXTHDR) and its parts.
	protocol, destination := uint32(12), uint32(12) // PROTO_DESC_IP, IPHDR_DADDR
	if keyType == "ipv6_addr" {
		protocol, destination = 13, 9 // PROTO_DESC_IP6, IP6HDR_DADDR
	}
	nest := func(typ byte, parts ...[]byte) []byte {
		value := bytes.Join(parts, nil)
		return append([]byte{typ, byte(len(value))}, value...)
	}
	item := func(typ byte, n uint32) []byte { return nest(typ, binary.NativeEndian.AppendUint32(nil, n)) }
	const payload, option, tcpOption, maxseg, size = 7, 8, 1, 2, 2
	return bytes.Join([][]byte{
		item(userdataKeyByteOrder, byteOrderBig),
		item(1, byteOrderBig), // NFTNL_UDATA_SET_DATABYTEORDER
		nest(3, item(0, payload), nest(1, item(0, protocol), item(1, destination))),           // NFTNL_UDATA_SET_KEY_TYPEOF
		nest(4, item(0, option), nest(1, item(1, maxseg), item(2, tcpOption), item(0, size))), // NFTNL_UDATA_SET_DATA_TYPEOF
		item(6, 0), // NFTNL_UDATA_SET_DATA_INTERVAL: the values are no intervals
	}, nil)
}

// addSet creates a set. id identifies the set within the transaction.
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
		a.Uint32(unix.NFTA_SET_DATA_LEN, 16) // a verdict takes one register, less than NFT_DATA_VALUE_MAXLEN (64)
	}
	if s.MSS {
		a.Uint32(unix.NFTA_SET_DATA_TYPE, sig.dataType)
		a.Uint32(unix.NFTA_SET_DATA_LEN, mssLen)
	}
	if s.Data != "" {
		data, err := parseType(s.Data)
		if err != nil {
			return op{}, fmt.Errorf("map %s: %w", s.Name, err)
		}
		a.Uint32(unix.NFTA_SET_DATA_TYPE, sig.dataType)
		a.Uint32(unix.NFTA_SET_DATA_LEN, uint32(data.size()))
	}
	a.Uint32(unix.NFTA_SET_ID, id)
	order := byte(byteOrderBig)
	if s.Type == "fib_addrtype" || s.Type == "ifname" {
		order = byteOrderHost
	}
	userdata := []byte{userdataKeyByteOrder, 4, order, 0, 0, 0}
	if s.MSS {
		userdata = mssUserdata(s.Type)
	}
	a.Bytes(unix.NFTA_SET_USERDATA, userdata)
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

// listLength bounds the list of elements in one message, because an attribute holds at
// most 64 KiB. An element takes at most about 250 bytes.
const listLength = 60 << 10

func flushSet(name string) op {
	return op{typ: unix.NFT_MSG_DELSETELEM, body: elementList(name, nil), what: "flush set " + name}
}

// addElements adds elements to a set. With exclusive, the transaction fails with
// unix.EEXIST if one exists.
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
	var data keyType
	if s.Data != "" {
		if data, err = parseType(s.Data); err != nil {
			return nil, fmt.Errorf("map %s: %w", s.Name, err)
		}
	}
	return elementOps(proto, s.Name, len(all), func(i int, a *netlink.Encoder) error {
		if err := putValue(a, unix.NFTA_SET_ELEM_KEY, kt, all[i].Key); err != nil {
			return fmt.Errorf("set %s: %w", s.Name, err)
		}
		if data != nil {
			if err := putValue(a, unix.NFTA_SET_ELEM_DATA, data, all[i].Data); err != nil {
				return fmt.Errorf("map %s: value of %s: %w", s.Name, all[i].Key, err)
			}
		}
		if d := all[i].Timeout; d != 0 {
			a.Uint64(unix.NFTA_SET_ELEM_TIMEOUT, uint64(max(d.Milliseconds(), 1)))
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
		if v := bounds[i].value; v != nil {
			data := a.BeginNest(unix.NFTA_SET_ELEM_DATA)
			a.Bytes(unix.NFTA_DATA_VALUE, v)
			a.End(data)
		}
		switch {
		case bounds[i].end:
			a.Uint32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
		case i == len(bounds)-1:
			// The interval has no end, which nft marks in the user data
			// (NFTNL_UDATA_SET_ELEM_FLAGS, SET_ELEM_F_INTERVAL_OPEN).
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
	if !s.MSS {
		return bounds, nil
	}
	next := 0 // the element of the next bound that is a first key
	for i := range bounds {
		if !bounds[i].end {
			bounds[i].value = binary.BigEndian.AppendUint16(nil, all[next].MSS)
			next++
		}
	}
	return bounds, nil
}

// deleteElements deletes elements, one message each, so that a missing one can be left
// out.
func deleteElements(s ruleset.Set, all []ruleset.Element) ([]op, error) {
	kt, err := parseType(s.Type)
	if err != nil {
		return nil, fmt.Errorf("set %s: %w", s.Name, err)
	}
	var out []op
	for _, e := range all {
		var items netlink.Encoder
		item := items.BeginNest(unix.NFTA_LIST_ELEM)
		if err := putValue(&items, unix.NFTA_SET_ELEM_KEY, kt, e.Key); err != nil {
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

// putValue appends the key of an element, or its value in a map.
func putValue(a *netlink.Encoder, attr uint16, t keyType, text string) (err error) {
	at := a.BeginNest(attr)
	value := a.Begin(unix.NFTA_DATA_VALUE)
	*a, err = t.append(*a, text)
	a.End(value)
	a.End(at)
	return err
}

// elementOps returns messages with n elements, each of which put writes.
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
