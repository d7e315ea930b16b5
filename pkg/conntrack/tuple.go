package conntrack

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Tuple holds the addresses, protocol and ports of the packets of one direction of a flow,
// as the node receives them. Without translation, the two tuples of a flow are mirror
// images. Tuples are compared with ==, and all tuples in the kernel's table differ.
type Tuple struct {
	Src, Dst netip.Addr // both are of the same family
	// Ports of TCP, UDP, UDP-Lite, SCTP and DCCP; the keys of GRE.
	SrcPort, DstPort uint16
	// ID, Type and Code of ICMP and ICMPv6. Translation changes the ID like a port.
	ID         uint16
	Type, Code uint8
	Proto      uint8 // IPPROTO_...
	// Zone is the conntrack zone of this direction; mostly 0.
	Zone uint16
}

// hasPorts reports whether tuples of a protocol have ports or, for GRE, keys.
func hasPorts(proto uint8) bool {
	switch proto {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE,
		unix.IPPROTO_SCTP, unix.IPPROTO_DCCP, unix.IPPROTO_GRE:
		return true
	}
	return false
}

// family returns the family of struct nfgenmsg.
func (t *Tuple) family() uint8 {
	if t.Src.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// Valid reports whether the tuple has two addresses of one family.
func (t Tuple) Valid() bool {
	return t.Src.IsValid() && t.Dst.IsValid() && t.Src.Is4() == t.Dst.Is4()
}

// String returns "tcp 10.0.0.2:4711 > 192.0.2.1:443", with the zone if it is not 0.
func (t Tuple) String() string {
	s := protoName(t.Proto) + " "
	switch {
	case hasPorts(t.Proto):
		s += fmt.Sprintf("%s > %s", netip.AddrPortFrom(t.Src, t.SrcPort), netip.AddrPortFrom(t.Dst, t.DstPort))
	case t.Proto == unix.IPPROTO_ICMP, t.Proto == unix.IPPROTO_ICMPV6:
		s += fmt.Sprintf("%s > %s type %d code %d id %d", t.Src, t.Dst, t.Type, t.Code, t.ID)
	default:
		s += fmt.Sprintf("%s > %s", t.Src, t.Dst)
	}
	if t.Zone != 0 {
		s += fmt.Sprintf(" zone %d", t.Zone)
	}
	return s
}

func protoName(proto uint8) string {
	switch proto {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_UDPLITE:
		return "udplite"
	case unix.IPPROTO_SCTP:
		return "sctp"
	case unix.IPPROTO_DCCP:
		return "dccp"
	case unix.IPPROTO_GRE:
		return "gre"
	case unix.IPPROTO_ICMP:
		return "icmp"
	case unix.IPPROTO_ICMPV6:
		return "icmpv6"
	default:
		return fmt.Sprintf("proto-%d", proto)
	}
}

// read reads the attributes of a tuple, and sets all fields of t.
func (t *Tuple) read(b []byte) bool {
	*t = Tuple{}
	a := netlink.Attributes{Rest: b}
	for a.Next() {
		ok := true
		switch a.Type {
		case ctaTupleIP:
			ok = t.readAddresses(a.Data)
		case ctaTupleProto:
			ok = t.readProto(a.Data)
		case ctaTupleZone:
			ok = read16(a.Data, &t.Zone)
		}
		if !ok {
			return false
		}
	}
	return a.Complete() && t.Valid()
}

func (t *Tuple) readAddresses(b []byte) bool {
	a := netlink.Attributes{Rest: b}
	for a.Next() {
		switch a.Type {
		case ctaIPv4Src, ctaIPv4Dst:
			if len(a.Data) != 4 {
				return false
			}
			if x := netip.AddrFrom4([4]byte(a.Data)); a.Type == ctaIPv4Src {
				t.Src = x
			} else {
				t.Dst = x
			}
		case ctaIPv6Src, ctaIPv6Dst:
			if len(a.Data) != 16 {
				return false
			}
			if x := netip.AddrFrom16([16]byte(a.Data)); a.Type == ctaIPv6Src {
				t.Src = x
			} else {
				t.Dst = x
			}
		}
	}
	return a.Complete()
}

func (t *Tuple) readProto(b []byte) bool {
	var icmp4, icmp6 struct {
		id         uint16
		kind, code uint8
	}
	var src, dst uint16
	a := netlink.Attributes{Rest: b}
	for a.Next() {
		ok := true
		switch a.Type {
		case ctaProtoNum:
			ok = read8(a.Data, &t.Proto)
		case ctaProtoSrcPort:
			ok = read16(a.Data, &src)
		case ctaProtoDstPort:
			ok = read16(a.Data, &dst)
		case ctaProtoICMPID:
			ok = read16(a.Data, &icmp4.id)
		case ctaProtoICMPType:
			ok = read8(a.Data, &icmp4.kind)
		case ctaProtoICMPCode:
			ok = read8(a.Data, &icmp4.code)
		case ctaProtoICMPv6ID:
			ok = read16(a.Data, &icmp6.id)
		case ctaProtoICMPv6Type:
			ok = read8(a.Data, &icmp6.kind)
		case ctaProtoICMPv6Code:
			ok = read8(a.Data, &icmp6.code)
		}
		if !ok {
			return false
		}
	}
	// Attributes of other protocols are not part of the tuple.
	switch {
	case hasPorts(t.Proto):
		t.SrcPort, t.DstPort = src, dst
	case t.Proto == unix.IPPROTO_ICMP:
		t.ID, t.Type, t.Code = icmp4.id, icmp4.kind, icmp4.code
	case t.Proto == unix.IPPROTO_ICMPV6:
		t.ID, t.Type, t.Code = icmp6.id, icmp6.kind, icmp6.code
	}
	return a.Complete()
}

// write appends the tuple as an attribute, with this zone if it is not 0.
func (t *Tuple) write(e *netlink.Encoder, typ, zone uint16) {
	at := e.BeginNest(typ)
	t.writeAddresses(e)
	proto := e.BeginNest(ctaTupleProto)
	e.Uint8(ctaProtoNum, t.Proto)
	switch {
	case hasPorts(t.Proto):
		e.Uint16(ctaProtoSrcPort, t.SrcPort)
		e.Uint16(ctaProtoDstPort, t.DstPort)
	case t.Proto == unix.IPPROTO_ICMP:
		e.Uint16(ctaProtoICMPID, t.ID)
		e.Uint8(ctaProtoICMPType, t.Type)
		e.Uint8(ctaProtoICMPCode, t.Code)
	case t.Proto == unix.IPPROTO_ICMPV6:
		e.Uint16(ctaProtoICMPv6ID, t.ID)
		e.Uint8(ctaProtoICMPv6Type, t.Type)
		e.Uint8(ctaProtoICMPv6Code, t.Code)
	}
	e.End(proto)
	if zone != 0 {
		e.Uint16(ctaTupleZone, zone)
	}
	e.End(at)
}

func (t *Tuple) writeAddresses(e *netlink.Encoder) {
	at := e.BeginNest(ctaTupleIP)
	if t.Src.Is4() {
		src, dst := t.Src.As4(), t.Dst.As4()
		e.Bytes(ctaIPv4Src, src[:])
		e.Bytes(ctaIPv4Dst, dst[:])
	} else {
		src, dst := t.Src.As16(), t.Dst.As16()
		e.Bytes(ctaIPv6Src, src[:])
		e.Bytes(ctaIPv6Dst, dst[:])
	}
	e.End(at)
}
