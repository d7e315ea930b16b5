package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// PacketRole says which packet of a traced flow a packet is.
type PacketRole string

// Roles of traced packets.
const (
	Request   PacketRole = "request"    // from the source to the destination
	Reply     PacketRole = "reply"      // from the destination to the source
	ICMPError PacketRole = "icmp-error" // an ICMP error about one of them
)

// tracePriority is the priority of a Tracer's chains: the lowest that a program uses is about
// -400 and the highest about 400, except for conntrack's INT_MAX.
const tracePriority = 1_000_000

// tracePoint is a base chain of a Tracer's table. All traced packets pass it, and the kernel
// reports the headers and interfaces that each has there.
type tracePoint struct {
	chain    string
	hook     uint32
	priority int32
}

// The points through which a packet passes: the first and the last chain of each hook.
var tracePoints = []tracePoint{
	{"prerouting-first", unix.NF_INET_PRE_ROUTING, -tracePriority},
	{"prerouting-last", unix.NF_INET_PRE_ROUTING, tracePriority},
	{"input-first", unix.NF_INET_LOCAL_IN, -tracePriority},
	{"input-last", unix.NF_INET_LOCAL_IN, tracePriority},
	{"forward-first", unix.NF_INET_FORWARD, -tracePriority},
	{"forward-last", unix.NF_INET_FORWARD, tracePriority},
	{"output-first", unix.NF_INET_LOCAL_OUT, -tracePriority},
	{"output-last", unix.NF_INET_LOCAL_OUT, tracePriority},
	{"postrouting-first", unix.NF_INET_POST_ROUTING, -tracePriority},
	{"postrouting-last", unix.NF_INET_POST_ROUTING, tracePriority},
}

// selecting are the chains that have the rules that select packets: the first ones that packets
// from other hosts and packets of the node itself pass.
var selecting = []string{"prerouting-first", "output-first"}

// traceOps returns the messages that make the table.
//
// Packets are selected before any other chain. Requests are selected by their addresses and
// ports. The addresses of their replies are known when a request leaves the last chain, after
// it was translated: a rule there adds them to a set, and replies and ICMP errors are looked
// up in it. So no packet of another flow is traced.
func (c *Conn) traceOps(table string, flows []TraceFlow) ([]op, error) {
	ops, err := traceOpsIn(unix.NFPROTO_INET, table, flows)
	if err != nil {
		return nil, err
	}
	bridged := false
	err = c.list(unix.NFPROTO_BRIDGE, unix.NFT_MSG_GETTABLE, nil, func(family uint8, _ []byte) error {
		bridged = bridged || family == unix.NFPROTO_BRIDGE
		return nil
	})
	if err != nil || !bridged {
		return ops, err
	}
	more, err := traceOpsIn(unix.NFPROTO_BRIDGE, table, flows)
	return append(ops, more...), err
}

// traceOpsIn returns the messages that make the table of a family.
func traceOpsIn(in uint8, table string, flows []TraceFlow) ([]op, error) {
	var a netlink.Encoder
	a.Text(unix.NFTA_TABLE_NAME, table)
	a.Uint32(unix.NFTA_TABLE_FLAGS, flagTableOwner)
	ops := []op{{typ: unix.NFT_MSG_NEWTABLE, flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL, body: a, what: "add table " + table}}
	var errs []error
	for i, v6 := range []bool{false, true} {
		o, err := tupleSet(table, v6, uint32(10*int(in)+i))
		ops, errs = append(ops, o), append(errs, err)
	}
	for _, p := range tracePoints {
		ops = append(ops, traceChain(table, p))
	}
	add := func(chain string, role PacketRole, all []expr.Any) {
		o, err := traceRule(table, chain, role, all)
		ops, errs = append(ops, o), append(errs, err)
	}
	trace := []expr.Any{
		&expr.Immediate{Register: 1, Data: []byte{1}},
		&expr.Meta{Key: expr.MetaKeyNFTRACE, SourceRegister: true, Register: 1},
	}
	for _, f := range flows {
		x, err := selectionOf(in, f)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, m := range x.matches {
			for _, chain := range selecting {
				add(chain, m.role, slices.Concat(m.match, trace))
			}
		}
		// Bridges translate nothing.
		if x.learn != nil && in == unix.NFPROTO_INET {
			add("postrouting-last", "", x.learn)
		}
	}
	for i := range ops {
		ops[i].family = in
	}
	return ops, errors.Join(errs...)
}

func traceChain(table string, p tracePoint) op {
	var a netlink.Encoder
	a.Text(unix.NFTA_CHAIN_TABLE, table)
	a.Text(unix.NFTA_CHAIN_NAME, p.chain)
	var hook netlink.Encoder
	hook.Uint32(unix.NFTA_HOOK_HOOKNUM, p.hook)
	hook.Uint32(unix.NFTA_HOOK_PRIORITY, uint32(p.priority))
	a.Nest(unix.NFTA_CHAIN_HOOK, hook)
	a.Uint32(unix.NFTA_CHAIN_POLICY, nfAccept)
	a.Text(unix.NFTA_CHAIN_TYPE, "filter")
	return op{typ: unix.NFT_MSG_NEWCHAIN, flags: unix.NLM_F_CREATE, body: a, what: "add chain " + p.chain}
}

func traceRule(table, chain string, role PacketRole, all []expr.Any) (op, error) {
	encoded := make([]expression, 0, len(all))
	var errs []error
	for _, e := range all {
		x, err := encode(e)
		encoded, errs = append(encoded, x), append(errs, err)
	}
	var a netlink.Encoder
	a.Text(unix.NFTA_RULE_TABLE, table)
	a.Text(unix.NFTA_RULE_CHAIN, chain)
	a.Nest(unix.NFTA_RULE_EXPRESSIONS, list(encoded))
	putComment(&a, unix.NFTA_RULE_USERDATA, string(role))
	return op{typ: unix.NFT_MSG_NEWRULE, flags: unix.NLM_F_CREATE | unix.NLM_F_APPEND, body: a, what: "add rule to chain " + chain}, errors.Join(errs...)
}

// tupleSetName returns the name of the set of replies of a family.
func tupleSetName(v6 bool) string {
	if v6 {
		return "replies6"
	}
	return "replies4"
}

// maxTuples is the size of a set of replies: the greatest number of traced flows.
const maxTuples = 1024

// tupleSet makes a set that rules add elements to, of source address, source port,
// destination address and destination port.
func tupleSet(table string, v6 bool, id uint32) (op, error) {
	kind := "ipv4_addr . inet_service . ipv4_addr . inet_service"
	if v6 {
		kind = "ipv6_addr . inet_service . ipv6_addr . inet_service"
	}
	key, err := parseType(kind)
	var a, size netlink.Encoder
	a.Text(unix.NFTA_SET_TABLE, table)
	a.Text(unix.NFTA_SET_NAME, tupleSetName(v6))
	a.Uint32(unix.NFTA_SET_FLAGS, unix.NFT_SET_EVAL)
	a.Uint32(unix.NFTA_SET_KEY_TYPE, key.number())
	a.Uint32(unix.NFTA_SET_KEY_LEN, uint32(key.size()))
	a.Uint32(unix.NFTA_SET_ID, id)
	size.Uint32(unix.NFTA_SET_DESC_SIZE, maxTuples)
	a.Nest(unix.NFTA_SET_DESC, size)
	return op{typ: unix.NFT_MSG_NEWSET, flags: unix.NLM_F_CREATE, body: a, what: "add set " + tupleSetName(v6)}, err
}

// selection has the rules for one flow.
type selection struct {
	matches []roleMatch
	// learn adds the addresses of replies to a request; nil for none.
	learn []expr.Any
}

type roleMatch struct {
	role  PacketRole
	match []expr.Any
}

// headers has the offsets of fields in bytes: in the network header, or, for a packet in an
// ICMP error, in the error.
type headers struct {
	base             expr.PayloadBase
	src, dst, proto  uint32
	size             uint32 // size of an address
	portBase         expr.PayloadBase
	sport, dport     uint32
	protocol, errors byte // nfproto, and the protocol number of ICMP
	v6               bool
}

func headersOf(v6 bool) headers {
	h := headers{base: expr.PayloadBaseNetworkHeader, src: 12, dst: 16, proto: 9, size: 4, portBase: expr.PayloadBaseTransportHeader, sport: 0, dport: 2, protocol: unix.NFPROTO_IPV4, errors: unix.IPPROTO_ICMP}
	if v6 {
		h.src, h.dst, h.proto, h.size, h.protocol, h.errors, h.v6 = 8, 24, 6, 16, unix.NFPROTO_IPV6, unix.IPPROTO_ICMPV6, true
	}
	return h
}

// quoted returns the offsets for the packet that an ICMP error quotes. Its IPv4 header is
// taken to have no options, and its IPv6 header no extensions.
func (h headers) quoted() headers {
	const icmp = 8
	header := uint32(20)
	if h.v6 {
		header = 40
	}
	h.base = expr.PayloadBaseTransportHeader
	h.src, h.dst, h.proto = h.src+icmp, h.dst+icmp, h.proto+icmp
	h.sport, h.dport = h.sport+icmp+header, h.dport+icmp+header
	return h
}

func load(base expr.PayloadBase, offset, size, reg uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: base, Offset: offset, Len: size}
}

func equals(data ...byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }

func metaEquals(key expr.MetaKey, data ...byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, equals(data...)}
}

// tuple matches addresses, and ports unless they are 0.
func (h headers) tuple(src, dst netip.AddrPort) (out []expr.Any) {
	for _, x := range []struct {
		at, portAt uint32
		is         netip.AddrPort
	}{{h.src, h.sport, src}, {h.dst, h.dport, dst}} {
		if x.is.Addr().IsValid() {
			out = append(out, load(h.base, x.at, h.size, 1), equals(x.is.Addr().AsSlice()...))
		}
		if x.is.Port() != 0 {
			out = append(out, load(h.portBase, x.portAt, portLen, 1), equals(binary.BigEndian.AppendUint16(nil, x.is.Port())...))
		}
	}
	return out
}

// key loads the source and the destination into the registers for a set of replies.
func (h headers) key(srcAt, sportAt, dstAt, dportAt uint32) []expr.Any {
	return []expr.Any{
		load(h.base, srcAt, h.size, register(0)), load(h.portBase, sportAt, portLen, register(h.size)),
		load(h.base, dstAt, h.size, register(h.size+4)), load(h.portBase, dportAt, portLen, register(2*h.size+4)),
	}
}

// selectionOf returns the rules of a table of a family that select the packets of a flow.
func selectionOf(in uint8, f TraceFlow) (out selection, err error) {
	src, dst := f.Source, f.Destination
	if !src.Addr().IsValid() || !dst.Addr().IsValid() || src.Addr().Is4() != dst.Addr().Is4() {
		return out, fmt.Errorf("a flow from %s to %s cannot be traced: it needs two addresses of one family", src, dst)
	}
	src, dst = netip.AddrPortFrom(src.Addr().WithZone(""), src.Port()), netip.AddrPortFrom(dst.Addr().WithZone(""), dst.Port())
	h := headersOf(dst.Addr().Is6())
	family := metaEquals(expr.MetaKeyNFPROTO, h.protocol)
	if in == unix.NFPROTO_BRIDGE { // nfproto is NFPROTO_BRIDGE there
		kind := uint16(unix.ETH_P_IP)
		if h.v6 {
			kind = unix.ETH_P_IPV6
		}
		family = metaEquals(expr.MetaKeyPROTOCOL, binary.BigEndian.AppendUint16(nil, kind)...)
	}
	of := func(proto byte, parts ...[]expr.Any) (all []expr.Any) {
		all = append(append(all, family...), metaEquals(expr.MetaKeyL4PROTO, proto)...)
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	q := h.quoted()
	inner := []expr.Any{load(q.base, q.proto, 1, 1), equals(f.Protocol)}
	add := func(role PacketRole, match []expr.Any) { out.matches = append(out.matches, roleMatch{role, match}) }
	switch f.Protocol {
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		request, reply := byte(icmpEcho), byte(icmpEchoReply)
		if h.v6 {
			request, reply = icmp6Echo, icmp6EchoReply
		}
		src, dst = netip.AddrPortFrom(src.Addr(), 0), netip.AddrPortFrom(dst.Addr(), 0)
		kind := func(is byte) []expr.Any { return []expr.Any{load(h.portBase, 0, 1, 1), equals(is)} }
		add(Request, of(h.errors, h.tuple(src, dst), kind(request)))
		add(Reply, of(h.errors, h.tuple(dst, netip.AddrPort{}), kind(reply)))
		add(ICMPError, of(h.errors, inner, q.tuple(netip.AddrPort{}, dst)))
		return out, nil
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP:
	default:
		return out, fmt.Errorf("protocol %d cannot be traced", f.Protocol)
	}
	replies := &expr.Lookup{SourceRegister: 1, SetName: tupleSetName(h.v6)}
	add(Request, of(f.Protocol, h.tuple(src, dst)))
	add(Reply, of(f.Protocol, h.tuple(dst, src)))
	add(Reply, of(f.Protocol, h.key(h.src, h.sport, h.dst, h.dport), []expr.Any{replies}))
	// An error quotes a request, or a reply, as it was when it met the error's sender.
	add(ICMPError, of(h.errors, inner, q.tuple(src, dst)))
	add(ICMPError, of(h.errors, inner, q.tuple(dst, src)))
	add(ICMPError, of(h.errors, inner, q.key(q.dst, q.dport, q.src, q.sport), []expr.Any{replies}))
	out.learn = append(of(f.Protocol), learned(h, src, dst)...)
	out.learn = append(out.learn, h.key(h.dst, h.dport, h.src, h.sport)...)
	out.learn = append(out.learn, &expr.Dynset{SrcRegKey: 1, SetName: tupleSetName(h.v6), Operation: unix.NFT_DYNSET_OP_ADD})
	return out, nil
}

// learned matches requests by their flow in conntrack, whatever it translated.
func learned(h headers, src, dst netip.AddrPort) []expr.Any {
	saddr, daddr := expr.CtKeySRCIP, expr.CtKeyDSTIP
	if h.v6 {
		saddr, daddr = expr.CtKeySRCIP6, expr.CtKeyDSTIP6
	}
	out := []expr.Any{
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1}, equals(expr.CtDirOriginal),
		&expr.Ct{Key: saddr, Direction: expr.CtDirOriginal, Register: 1}, equals(src.Addr().AsSlice()...),
		&expr.Ct{Key: daddr, Direction: expr.CtDirOriginal, Register: 1}, equals(dst.Addr().AsSlice()...),
	}
	for _, x := range []struct {
		key  expr.CtKey
		port uint16
	}{{expr.CtKeyPROTOSRC, src.Port()}, {expr.CtKeyPROTODST, dst.Port()}} {
		if x.port != 0 {
			out = append(out, &expr.Ct{Key: x.key, Direction: expr.CtDirOriginal, Register: 1}, equals(binary.BigEndian.AppendUint16(nil, x.port)...))
		}
	}
	return out
}

// Types of ICMP and ICMPv6.
const (
	icmpEchoReply, icmpUnreachable, icmpEcho = 0, 3, 8
	icmp6TooBig, icmp6Echo, icmp6EchoReply   = 2, 128, 129
	icmpFragmentationNeeded                  = 4 // a code of icmpUnreachable
)

// tracedRule identifies a rule of a Tracer's tables.
type tracedRule struct {
	family uint8
	handle uint64
}

// traceRoles returns the roles of the rules of a Tracer's tables.
func (c *Conn) traceRoles(table string) (map[tracedRule]PacketRole, error) {
	roles := map[tracedRule]PacketRole{}
	err := retry(func() error {
		clear(roles)
		for _, family := range []uint8{unix.NFPROTO_INET, unix.NFPROTO_BRIDGE} {
			var of netlink.Encoder
			of.Text(unix.NFTA_RULE_TABLE, table)
			err := c.list(family, unix.NFT_MSG_GETRULE, of, func(family uint8, b []byte) error {
				f, err := fields(b)
				if role := PacketRole(comment(f[unix.NFTA_RULE_USERDATA])); role != "" && netlink.Text(f[unix.NFTA_RULE_TABLE]) == table {
					roles[tracedRule{family, number64(f[unix.NFTA_RULE_HANDLE])}] = role
				}
				return err
			})
			if err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
		return nil
	})
	return roles, err
}
