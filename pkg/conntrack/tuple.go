package conntrack

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Tuple is one direction of a flow: what its packets look like to the node. The
// tuples of a flow are mirror images of each other, unless it is translated.
// Tuples compare with ==, and no two tuples in the kernel's table are equal.
type Tuple struct {
	Src, Dst netip.Addr // of one family
	// Ports of TCP, UDP, UDP-Lite, SCTP and DCCP; the keys of GRE.
	SrcPort, DstPort uint16
	// Of ICMP and ICMPv6. Translation changes the ID as it would change a port.
	ID         uint16
	Type, Code uint8
	Proto      uint8 // IPPROTO_...
	// Zone is the conntrack zone that this direction is looked up in; mostly 0.
	Zone uint16
}

// hasPorts lists the protocols whose tuples have two numbers.
func hasPorts(proto uint8) bool {
	switch proto {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE,
		unix.IPPROTO_SCTP, unix.IPPROTO_DCCP, unix.IPPROTO_GRE:
		return true
	}
	return false
}

// family is that of struct nfgenmsg.
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

// String gives "tcp 10.0.0.2:4711 > 192.0.2.1:443", with the zone where it is not 0.
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

// read takes the attributes of a tuple. It sets the whole of t.
func (t *Tuple) read(b []byte) bool {
	*t = Tuple{}
	a := attrs{rest: b}
	for a.next() {
		ok := true
		switch a.typ {
		case ctaTupleIP:
			ok = t.readAddresses(a.data)
		case ctaTupleProto:
			ok = t.readProto(a.data)
		case ctaTupleZone:
			ok = read16(a.data, &t.Zone)
		}
		if !ok {
			return false
		}
	}
	return a.whole() && t.Valid()
}

func (t *Tuple) readAddresses(b []byte) bool {
	a := attrs{rest: b}
	for a.next() {
		switch a.typ {
		case ctaIPv4Src, ctaIPv4Dst:
			if len(a.data) != 4 {
				return false
			}
			if x := netip.AddrFrom4([4]byte(a.data)); a.typ == ctaIPv4Src {
				t.Src = x
			} else {
				t.Dst = x
			}
		case ctaIPv6Src, ctaIPv6Dst:
			if len(a.data) != 16 {
				return false
			}
			if x := netip.AddrFrom16([16]byte(a.data)); a.typ == ctaIPv6Src {
				t.Src = x
			} else {
				t.Dst = x
			}
		}
	}
	return a.whole()
}

func (t *Tuple) readProto(b []byte) bool {
	var four, six struct {
		id         uint16
		kind, code uint8
	}
	var src, dst uint16
	a := attrs{rest: b}
	for a.next() {
		ok := true
		switch a.typ {
		case ctaProtoNum:
			ok = read8(a.data, &t.Proto)
		case ctaProtoSrcPort:
			ok = read16(a.data, &src)
		case ctaProtoDstPort:
			ok = read16(a.data, &dst)
		case ctaProtoICMPID:
			ok = read16(a.data, &four.id)
		case ctaProtoICMPType:
			ok = read8(a.data, &four.kind)
		case ctaProtoICMPCode:
			ok = read8(a.data, &four.code)
		case ctaProtoICMPv6ID:
			ok = read16(a.data, &six.id)
		case ctaProtoICMPv6Type:
			ok = read8(a.data, &six.kind)
		case ctaProtoICMPv6Code:
			ok = read8(a.data, &six.code)
		}
		if !ok {
			return false
		}
	}
	// What does not belong to the protocol is not part of the tuple.
	switch {
	case hasPorts(t.Proto):
		t.SrcPort, t.DstPort = src, dst
	case t.Proto == unix.IPPROTO_ICMP:
		t.ID, t.Type, t.Code = four.id, four.kind, four.code
	case t.Proto == unix.IPPROTO_ICMPV6:
		t.ID, t.Type, t.Code = six.id, six.kind, six.code
	}
	return a.whole()
}

// write appends the tuple as an attribute, with the zone that it is given.
func (t *Tuple) write(b []byte, typ, zone uint16) []byte {
	b, at := begin(b, typ)
	b = t.writeAddresses(b)
	b, proto := begin(b, ctaTupleProto)
	b = put(b, ctaProtoNum, t.Proto)
	switch {
	case hasPorts(t.Proto):
		b = put16(b, ctaProtoSrcPort, t.SrcPort)
		b = put16(b, ctaProtoDstPort, t.DstPort)
	case t.Proto == unix.IPPROTO_ICMP:
		b = put16(b, ctaProtoICMPID, t.ID)
		b = put(b, ctaProtoICMPType, t.Type)
		b = put(b, ctaProtoICMPCode, t.Code)
	case t.Proto == unix.IPPROTO_ICMPV6:
		b = put16(b, ctaProtoICMPv6ID, t.ID)
		b = put(b, ctaProtoICMPv6Type, t.Type)
		b = put(b, ctaProtoICMPv6Code, t.Code)
	}
	b = end(b, proto)
	if zone != 0 {
		b = put16(b, ctaTupleZone, zone)
	}
	return end(b, at)
}

func (t *Tuple) writeAddresses(b []byte) []byte {
	b, at := begin(b, ctaTupleIP)
	if t.Src.Is4() {
		src, dst := t.Src.As4(), t.Dst.As4()
		b = put(b, ctaIPv4Src, src[:]...)
		b = put(b, ctaIPv4Dst, dst[:]...)
	} else {
		src, dst := t.Src.As16(), t.Dst.As16()
		b = put(b, ctaIPv6Src, src[:]...)
		b = put(b, ctaIPv6Dst, dst[:]...)
	}
	return end(b, at)
}
