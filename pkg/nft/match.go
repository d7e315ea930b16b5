package nft

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// field is a field of a packet, or of its flow, that a rule can match.
type field struct {
	network, transport string       // the protocols of the field
	meta               expr.MetaKey // 0 for none
	ct                 expr.CtKey   // field of the flow in a direction; 0 for none
	direction          uint32
	base               expr.PayloadBase
	offset, size       uint32
}

var fieldsByName = map[string]field{
	"iifname":      {meta: expr.MetaKeyIIFNAME, size: unix.IFNAMSIZ},
	"meta l4proto": {meta: expr.MetaKeyL4PROTO, size: 1},
	// The ports of any transport protocol.
	"th sport":  {base: expr.PayloadBaseTransportHeader, offset: sourcePortAt, size: portLen},
	"th dport":  {base: expr.PayloadBaseTransportHeader, offset: destinationPortAt, size: portLen},
	"ip saddr":  {network: "ipv4", base: expr.PayloadBaseNetworkHeader, offset: 12, size: 4},
	"ip daddr":  {network: "ipv4", base: expr.PayloadBaseNetworkHeader, offset: 16, size: 4},
	"ip6 saddr": {network: "ipv6", base: expr.PayloadBaseNetworkHeader, offset: 8, size: 16},
	"ip6 daddr": {network: "ipv6", base: expr.PayloadBaseNetworkHeader, offset: 24, size: 16},
	// A flow of the other family does not match (nft_ct_get_eval in
	// net/netfilter/nft_ct.c).
	"ct original ip saddr":  {ct: expr.CtKeySRCIP, direction: expr.CtDirOriginal, size: 4},
	"ct reply ip saddr":     {ct: expr.CtKeySRCIP, direction: expr.CtDirReply, size: 4},
	"ct original ip6 saddr": {ct: expr.CtKeySRCIP6, direction: expr.CtDirOriginal, size: 16},
	"ct reply proto-dst":    {ct: expr.CtKeyPROTODST, direction: expr.CtDirReply, size: portLen},
	"ct reply ip6 saddr":    {ct: expr.CtKeySRCIP6, direction: expr.CtDirReply, size: 16},
}

var transports = map[string]byte{
	"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "udplite": unix.IPPROTO_UDPLITE,
	"sctp": unix.IPPROTO_SCTP, "dccp": unix.IPPROTO_DCCP,
}

var networks = map[string]byte{"ipv4": unix.NFPROTO_IPV4, "ipv6": unix.NFPROTO_IPV6}

// All five transport protocols have their ports at the same offset.
const sourcePortAt, destinationPortAt, portLen = 0, 2, 2

// field reads the name of a field.
func (c *compiler) field() (field, bool) {
	for name, f := range fieldsByName {
		if c.take(name) {
			return f, true
		}
	}
	for proto := range transports {
		f := field{transport: proto, base: expr.PayloadBaseTransportHeader, size: portLen}
		switch {
		case c.take(proto + " sport"):
			f.offset = sourcePortAt
			return f, true
		case c.take(proto + " dport"):
			f.offset = destinationPortAt
			return f, true
		}
	}
	return field{}, false
}

// needNetwork matches the network protocol, unless the rule has matched it before.
func (c *compiler) needNetwork(name string) {
	if name == "" || name == c.network {
		return
	}
	proto, ok := networks[name]
	if !ok || c.network != "" {
		c.fail("cannot match %q here", name)
		return
	}
	c.network = name
	c.emit(&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}})
}

func (c *compiler) needTransport(name string) {
	if name == "" || name == c.transport {
		return
	}
	if c.transport != "" {
		c.fail("cannot match %q after %q", name, c.transport)
		return
	}
	c.transport = name
	c.emit(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{transports[name]}})
}

// register returns the number of the register at an offset in bytes, as the kernel writes
// it: one of four with 16 bytes, or one of sixteen with 4.
func register(offset uint32) uint32 {
	if offset%16 == 0 {
		return unix.NFT_REG_1 + offset/16
	}
	return unix.NFT_REG32_00 + offset/4
}

// load compiles a field or a concatenation, which it loads into registers from the first on.
// It returns no fields if it does not know one.
func (c *compiler) load() (all []field) {
	for {
		f, ok := c.field()
		if !ok {
			c.fail("do not know %q", c.words)
			return nil
		}
		all = append(all, f)
		if !c.take(".") {
			break
		}
	}
	for _, f := range all {
		c.needNetwork(f.network)
		c.needTransport(f.transport)
	}
	var offset uint32
	for _, f := range all {
		switch {
		case f.meta != 0:
			c.emit(&expr.Meta{Key: f.meta, Register: register(offset)})
		case f.ct != 0:
			c.emit(&expr.Ct{Key: f.ct, Direction: f.direction, Register: register(offset)})
		default:
			c.emit(&expr.Payload{DestRegister: register(offset), Base: f.base, Offset: f.offset, Len: f.size})
		}
		offset += (f.size + 3) &^ 3
	}
	return all
}

// match compiles fields and the values that they are compared with.
func (c *compiler) match() {
	all := c.load()
	switch {
	case len(all) == 0:
	case c.take("vmap"):
		c.lookup(true)
	case len(c.words) > 0 && c.words[0][0] == '@':
		c.lookup(false)
	case c.take("!="):
		c.emit(&expr.Lookup{SourceRegister: 1, SetName: c.set(), Invert: true})
	case c.take("<"):
		c.emit(&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binary.BigEndian.AppendUint16(nil, uint16(c.integer(c.next(), 16)))})
	case c.take(">="):
		c.emit(&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: binary.BigEndian.AppendUint16(nil, uint16(c.integer(c.next(), 16)))})
	case all[0].size == portLen && all[0].transport != "" && len(c.words) > 0 && strings.Contains(c.words[0], "-"):
		c.within(c.next())
	case all[0].size == portLen && all[0].transport != "":
		c.emit(&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, uint16(c.integer(c.next(), 16)))})
	default:
		c.address(all[0])
	}
}

// within compares a port with both ends of "20000-29999".
func (c *compiler) within(s string) {
	first, last, _ := strings.Cut(s, "-")
	for _, end := range []struct {
		op   expr.CmpOp
		port string
	}{{expr.CmpOpGte, first}, {expr.CmpOpLte, last}} {
		c.emit(&expr.Cmp{Op: end.op, Register: 1, Data: binary.BigEndian.AppendUint16(nil, uint16(c.integer(end.port, 16)))})
	}
}

func (c *compiler) lookup(verdict bool) {
	c.emit(&expr.Lookup{SourceRegister: 1, SetName: c.set(), IsDestRegSet: verdict})
}

// set takes the name of a set.
func (c *compiler) set() string {
	name := c.next()
	if len(name) < 2 || name[0] != '@' {
		c.fail("%q is not the name of a set", name)
		return ""
	}
	return name[1:]
}

// address compares a field with one address or prefix.
func (c *compiler) address(f field) {
	word := c.next()
	p, err := netip.ParsePrefix(word)
	if err != nil {
		a, err := netip.ParseAddr(word)
		if err != nil || uint32(a.BitLen()) != 8*f.size {
			c.fail("cannot compare with %q", word)
			return
		}
		c.emit(&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()})
		return
	}
	if uint32(p.Addr().BitLen()) != 8*f.size || p.Bits()%8 == 0 || p != p.Masked() {
		c.fail("cannot compare with %q", word) // for whole bytes nft loads a shorter field
		return
	}
	mask := make([]byte, f.size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	c.emit(&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: f.size, Mask: mask, Xor: make([]byte, f.size)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Addr().AsSlice()})
}
