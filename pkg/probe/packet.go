package probe

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	synFlag, rstFlag, ackFlag = 0x02, 0x04, 0x10
	// synMSS is the MSS option of a probe's SYN. No segment is ever sent on such a flow.
	synMSS = 536
)

// smallest returns the length of the target's smallest probe packet.
func (t Target) smallest() int {
	n := 20 + 24 // IP header, TCP header with the MSS option
	if t.UDP {
		n = 20 + 8
	}
	if !t.is4() {
		n += 20
	}
	return n
}

// packet returns an IP packet with size bytes from a port of an address to the target: a TCP
// SYN or a datagram, filled with zeros. Its TTL is hops.
func (t Target) packet(from netip.Addr, port uint16, hops, size int) []byte {
	header := 40
	if t.is4() {
		header = 20
	}
	b := make([]byte, max(size, t.smallest()))
	ip, body := b[:header], b[header:]
	binary.BigEndian.PutUint16(body, port)
	binary.BigEndian.PutUint16(body[2:], t.Address.Port())
	proto, sum := byte(unix.IPPROTO_TCP), 16
	if t.UDP {
		proto, sum = unix.IPPROTO_UDP, 6
		binary.BigEndian.PutUint16(body[4:], uint16(len(body)))
	} else {
		binary.BigEndian.PutUint32(body[4:], uint32(port)<<16) // sequence number
		body[12], body[13] = 6<<4, synFlag
		binary.BigEndian.PutUint16(body[14:], 65535)
		body[20], body[21] = 2, 4
		binary.BigEndian.PutUint16(body[22:], synMSS)
	}
	to := t.Address.Addr()
	s := add(add(uint32(proto)+uint32(len(body)), from.AsSlice()), to.AsSlice())
	s = fold(add(s, body))
	if s == 0 && t.UDP {
		s = 0xffff // 0 means "no checksum"
	}
	binary.BigEndian.PutUint16(body[sum:], uint16(s))
	if t.is4() {
		ip[0], ip[8], ip[9] = 0x45, byte(hops), proto
		binary.BigEndian.PutUint16(ip[2:], uint16(len(b)))
		ip[6] = 0x40 // DF. The kernel fills in the ID and the checksum.
		copy(ip[12:], from.AsSlice())
		copy(ip[16:], to.AsSlice())
		return b
	}
	ip[0], ip[6], ip[7] = 0x60, proto, byte(hops)
	binary.BigEndian.PutUint16(ip[4:], uint16(len(body)))
	copy(ip[8:], from.AsSlice())
	copy(ip[24:], to.AsSlice())
	return b
}

// add adds 16-bit words to a sum.
func add(sum uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

// fold returns the ones' complement of a sum in ones' complement.
func fold(sum uint32) uint32 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^sum & 0xffff
}

// Answer is the answer to one packet.
type Answer struct {
	Kind AnswerKind
	From netip.Addr
	// MTU is the MTU that a TooBig names.
	MTU int
	// Code is the code of an ICMP "destination unreachable".
	Code uint8
}

// AnswerKind is the kind of an Answer.
type AnswerKind uint8

// Kinds of answers.
const (
	None        AnswerKind = iota
	Open                   // the target's SYN-ACK or datagram
	Closed                 // the target's RST or ICMP "port unreachable"
	Expired                // a router: the TTL has expired
	TooBig                 // a router: fragmentation needed, packet too big
	Unreachable            // a router or the target: another ICMP "destination unreachable"
)

// Reached reports whether the packet reached the target.
func (a Answer) Reached() bool { return a.Kind == Open || a.Kind == Closed }

// parseTCP returns the answer in a segment of the target, and the port of ours that it is for.
func (t Target) parseTCP(b []byte) (a Answer, port uint16, ok bool) {
	if len(b) < 20 || binary.BigEndian.Uint16(b) != t.Address.Port() {
		return Answer{}, 0, false
	}
	a = Answer{Kind: Open, From: t.Address.Addr()}
	switch f := b[13]; {
	case f&rstFlag != 0:
		a.Kind = Closed
	case f&(synFlag|ackFlag) != synFlag|ackFlag:
		return Answer{}, 0, false
	}
	return a, binary.BigEndian.Uint16(b[2:]), true
}

// parseICMP returns the answer in an ICMP error about a packet to the target, and the port of
// ours that sent the packet. b begins with the ICMP header.
func (t Target) parseICMP(b []byte, from netip.Addr) (a Answer, port uint16, ok bool) {
	if len(b) < 8 {
		return Answer{}, 0, false
	}
	a = Answer{From: from, Code: b[1]}
	if t.is4() {
		switch {
		case b[0] == 11:
			a.Kind = Expired
		case b[0] == 3 && b[1] == 4:
			a.Kind, a.MTU = TooBig, int(binary.BigEndian.Uint16(b[6:]))
		case b[0] == 3:
			a.Kind = Unreachable
		default:
			return Answer{}, 0, false
		}
	} else {
		switch b[0] {
		case 3:
			a.Kind = Expired
		case 2:
			a.Kind, a.MTU = TooBig, int(binary.BigEndian.Uint32(b[4:]))
		case 1:
			a.Kind = Unreachable
		default:
			return Answer{}, 0, false
		}
	}
	quoted := b[8:]
	proto, to, body, ok := ipHeader(quoted)
	want := byte(unix.IPPROTO_TCP)
	if t.UDP {
		want = unix.IPPROTO_UDP
	}
	if !ok || proto != want || to != t.Address.Addr() || len(body) < 4 || binary.BigEndian.Uint16(body[2:]) != t.Address.Port() {
		return Answer{}, 0, false
	}
	// "Port unreachable" of the target itself means that the packet has arrived.
	portCode := uint8(3)
	if !t.is4() {
		portCode = 4
	}
	if a.Kind == Unreachable && a.Code == portCode && from == t.Address.Addr() {
		a.Kind = Closed
	}
	return a, binary.BigEndian.Uint16(body), true
}

// ipHeader returns protocol, destination and body of a packet that may be truncated. Packets of
// this package have no extension headers.
func ipHeader(b []byte) (proto byte, to netip.Addr, body []byte, ok bool) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		n := int(b[0]&15) * 4
		if n < 20 || n > len(b) {
			return 0, netip.Addr{}, nil, false
		}
		return b[9], netip.AddrFrom4([4]byte(b[16:20])), b[n:], true
	case len(b) >= 40 && b[0]>>4 == 6:
		return b[6], netip.AddrFrom16([16]byte(b[24:40])), b[40:], true
	}
	return 0, netip.Addr{}, nil, false
}
