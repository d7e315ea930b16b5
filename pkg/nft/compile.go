package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// compile turns a rule in nft's notation, as package ruleset writes it, into the
// expressions that nft would send. It refuses notation that the ruleset does not use.
func compile(rule string) ([]expression, error) {
	c := &compiler{words: strings.Fields(rule)}
	for len(c.words) > 0 && c.err == nil {
		c.statement()
	}
	if c.err != nil {
		return nil, fmt.Errorf("rule %q: %w", rule, c.err)
	}
	return c.out, nil
}

type compiler struct {
	words []string
	out   []expression
	err   error
	// network and transport are the protocols that the rule has matched so far. Like nft,
	// the compiler matches a header's protocol once, before the first field of the header.
	network, transport string
}

func (c *compiler) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

func (c *compiler) emit(all ...expr.Any) {
	for _, e := range all {
		x, err := encode(e)
		if err != nil {
			c.fail("%w", err)
			return
		}
		c.out = append(c.out, x)
	}
}

// next takes one word.
func (c *compiler) next() string {
	if len(c.words) == 0 {
		c.fail("ends too early")
		return ""
	}
	w := c.words[0]
	c.words = c.words[1:]
	return w
}

// take takes the words of phrase if they come next.
func (c *compiler) take(phrase string) bool {
	want := strings.Fields(phrase)
	if len(c.words) < len(want) {
		return false
	}
	for i, w := range want {
		if c.words[i] != w {
			return false
		}
	}
	c.words = c.words[len(want):]
	return true
}

func (c *compiler) integer(s string, bits int) uint32 {
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil {
		c.fail("%q is not a number of %d bits", s, bits)
	}
	return uint32(n)
}

func (c *compiler) quoted(s string) string {
	out, err := strconv.Unquote(s)
	if err != nil {
		c.fail("%s is not a quoted name", s)
	}
	return out
}

// ctStates has the bit of each state in the kernel's ct expression (NF_CT_STATE_BIT in
// uapi/linux/netfilter/nf_conntrack_common.h).
var ctStates = map[string]uint32{"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}

// Bits of a flow's status (enum ip_conntrack_status in
// uapi/linux/netfilter/nf_conntrack_common.h).
const (
	ipsExpected       = 1 << 0
	ipsSourceNAT      = 1 << 4
	ipsDestinationNAT = 1 << 5
)

func (c *compiler) statement() {
	switch {
	case c.take("counter"):
		c.emit(&expr.Counter{})
	case c.take("accept"):
		c.verdict(expr.VerdictAccept, "")
	case c.take("drop"):
		c.verdict(expr.VerdictDrop, "")
	case c.take("return"):
		c.verdict(expr.VerdictReturn, "")
	case c.take("continue"):
		c.verdict(expr.VerdictContinue, "")
	case c.take("jump"):
		c.verdict(expr.VerdictJump, c.next())
	case c.take("goto"):
		c.verdict(expr.VerdictGoto, c.next())
	case c.take("iifgroup"):
		group := c.integer(c.next(), 32)
		c.emit(&expr.Meta{Key: expr.MetaKeyIIFGROUP, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, group)})
	case c.take("meta nfproto"):
		c.needNetwork(c.next())
	case c.take("ct state"):
		c.state(c.next())
	case c.take("ct status expected,dnat / expected,dnat"):
		c.status(ipsExpected | ipsDestinationNAT)
	case c.take("ct status expected,snat / expected,snat"):
		c.status(ipsExpected | ipsSourceNAT)
	case c.take("meta l4proto"):
		c.needTransport(c.next())
	case c.take("socket wildcard"):
		c.emit(&expr.Socket{Key: expr.SocketKeyWildcard, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(c.integer(c.next(), 1))}})
	case c.take("ct helper set"):
		c.emit(&expr.Objref{Type: unix.NFT_OBJECT_CT_HELPER, Name: c.quoted(c.next())})
	case c.take("ip daddr 127.0.0.0/8"):
		// For a prefix of one byte, nft loads only the first byte.
		c.needNetwork("ipv4")
		c.emit(&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{127}})
	case c.take("fib daddr type"):
		c.emit(&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true})
		c.lookup(false)
	case c.take("fib saddr type != local"):
		c.emit(&expr.Fib{Register: 1, FlagSADDR: true, ResultADDRTYPE: true},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)})
	case c.take("tcp flags syn / fin,syn,rst"):
		c.needTransport("tcp")
		const fin, syn, rst = 1, 2, 4
		c.emit(&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{fin | syn | rst}, Xor: []byte{0}},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{syn}})
	case c.take("tcp option maxseg size set"):
		c.maxseg()
	case c.take("numgen random mod"):
		c.numgen()
	case c.take("masquerade"):
		c.masquerade()
	case c.take("snat"):
		c.snat()
	case c.take("dnat"):
		c.dnat()
	default:
		c.match()
	}
}

func (c *compiler) verdict(kind expr.VerdictKind, chain string) {
	c.emit(&expr.Verdict{Kind: kind, Chain: chain})
}

func (c *compiler) state(names string) {
	var bits uint32
	for name := range strings.SplitSeq(names, ",") {
		bit, ok := ctStates[name]
		if !ok {
			c.fail("unknown state %q", name)
		}
		bits |= bit
	}
	c.emit(&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)})
}

// status matches flows that have all bits of a mask.
func (c *compiler) status(all uint32) {
	mask := binary.NativeEndian.AppendUint32(nil, all)
	c.emit(&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: mask})
}

// maxseg lowers the MSS option of a TCP packet; the kernel never raises it
// (nft_exthdr_tcp_set_eval in net/netfilter/nft_exthdr.c). The MSS is the one of the route, of
// a map from an address of the flow, or a number. If the map does not have the address, the
// rule ends without an effect (NFT_BREAK in nft_lookup_eval, net/netfilter/nft_lookup.c).
func (c *compiler) maxseg() {
	if c.take("rt mtu") {
		c.emit(&expr.Rt{Register: 1, Key: expr.RtTCPMSS},
			&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 2, Size: 2})
	} else if f, ok := c.field(); ok {
		if f.ct == 0 || !c.take("map") {
			c.fail("only a map from a field of the flow can follow")
		}
		c.emit(&expr.Ct{Key: f.ct, Direction: f.direction, Register: 1})
		c.emit(&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: c.set()})
	} else {
		c.emit(&expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, uint16(c.integer(c.next(), 16)))})
	}
	const maxseg, valueAt, valueLen = 2, 2, 2 // RFC 9293, section 3.2
	c.emit(&expr.Exthdr{SourceRegister: 1, Type: maxseg, Offset: valueAt, Len: valueLen, Op: expr.ExthdrOpTcpopt})
}

func (c *compiler) numgen() {
	modulus := c.integer(c.next(), 32)
	if !c.take("<") {
		c.fail("numgen needs a bound")
	}
	bound := c.integer(c.next(), 32)
	c.emit(&expr.Numgen{Register: 1, Modulus: modulus, Type: unix.NFT_NG_RANDOM},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binary.BigEndian.AppendUint32(nil, bound)})
}

// ports loads both ends of "20000-29999" into two registers.
func (c *compiler) ports(s string, register uint32) {
	first, last, ok := strings.Cut(s, "-")
	if !ok {
		c.fail("%q is not a range of ports", s)
	}
	for i, p := range []string{first, last} {
		c.emit(&expr.Immediate{Register: register + uint32(i), Data: binary.BigEndian.AppendUint16(nil, uint16(c.integer(p, 16)))})
	}
}

func (c *compiler) masquerade() {
	m := natOptions{}
	if c.take("to") {
		c.ports(strings.TrimPrefix(c.next(), ":"), 1)
		m.ports = 1
	}
	m.fullyRandom = c.take("fully-random")
	c.out = append(c.out, m.masquerade())
}

func (c *compiler) snat() {
	family := c.translated("snat")
	ports := c.immediateAddress(family)
	m := natOptions{ipv6: family == "ip6"}
	if ports != "" {
		c.ports(ports, 2)
		m.ports = 2
	}
	m.fullyRandom = c.take("fully-random")
	c.out = append(c.out, m.snat())
}

// dnat translates the destination to a constant address and port, or to the value that a map
// has for fields of the packet. If the map does not have the key, the rule ends without an
// effect (NFT_BREAK in nft_lookup_eval, net/netfilter/nft_lookup.c).
func (c *compiler) dnat() {
	family := c.translated("dnat")
	if len(c.words) > 0 && c.words[0] == family {
		c.load()
		if !c.take("map") {
			c.fail("only a map can follow")
		}
		c.emit(&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: c.set()})
		c.out = append(c.out, dnat(family == "ip6", register(fieldsByName[family+" daddr"].size)))
		return
	}
	port := c.immediateAddress(family)
	c.emit(&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, uint16(c.integer(port, 16)))})
	c.out = append(c.out, dnat(family == "ip6", 2))
}

// translated takes the family of a translation: "ip to".
func (c *compiler) translated(what string) (family string) {
	family = c.next()
	if family != "ip" && family != "ip6" || !c.take("to") {
		c.fail("%s needs a family and an address", what)
	}
	return family
}

// immediateAddress loads an address into the first register, and returns the ports that follow it
// after a colon, if any.
func (c *compiler) immediateAddress(family string) (ports string) {
	to := c.next()
	addr := to
	switch {
	case strings.HasPrefix(to, "["):
		addr, ports, _ = strings.Cut(to[1:], "]:")
	case family == "ip":
		addr, ports, _ = strings.Cut(to, ":")
	}
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Is4() != (family == "ip") {
		c.fail("%q is not an address of %s", to, family)
		return ""
	}
	c.emit(&expr.Immediate{Register: 1, Data: a.AsSlice()})
	return ports
}
