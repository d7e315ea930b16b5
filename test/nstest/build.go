package nstest

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Segment is a TCP segment to send, independent of any connection.
type Segment struct {
	Src, Dst netip.AddrPort
	Flags    TCPFlags
	Seq, Ack uint32
	MSS      uint16 // 0 sends no option
	Payload  []byte
}

// TCPPacket returns an IP packet with a segment. The destination determines the family. It
// panics if the families of the addresses differ.
func TCPPacket(s Segment) []byte {
	header := 20
	if s.MSS != 0 {
		header = 24
	}
	b := make([]byte, header, header+len(s.Payload))
	binary.BigEndian.PutUint16(b, s.Src.Port())
	binary.BigEndian.PutUint16(b[2:], s.Dst.Port())
	binary.BigEndian.PutUint32(b[4:], s.Seq)
	binary.BigEndian.PutUint32(b[8:], s.Ack)
	b[12], b[13] = byte(header/4)<<4, byte(s.Flags)
	binary.BigEndian.PutUint16(b[14:], 65535)
	if s.MSS != 0 {
		b[20], b[21] = 2, 4
		binary.BigEndian.PutUint16(b[22:], s.MSS)
	}
	b = append(b, s.Payload...)
	return ipPacket(s.Src.Addr(), s.Dst.Addr(), unix.IPPROTO_TCP, b, 16)
}

// UDPPacket returns an IP packet with a datagram. For the families see TCPPacket.
func UDPPacket(src, dst netip.AddrPort, payload []byte) []byte {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b, src.Port())
	binary.BigEndian.PutUint16(b[2:], dst.Port())
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	b = append(b, payload...)
	return ipPacket(src.Addr(), dst.Addr(), unix.IPPROTO_UDP, b, 6)
}

// EchoPacket returns an IP packet with an ICMP or ICMPv6 echo request.
func EchoPacket(src, dst netip.Addr, id, seq uint16, payload []byte) []byte {
	if dst.Is4() {
		return ipPacket(src, dst, unix.IPPROTO_ICMP, echo(icmpEcho, id, seq, payload), 2)
	}
	return ipPacket(src, dst, unix.IPPROTO_ICMPV6, echo(icmp6Echo, id, seq, payload), 2)
}

// echo returns an ICMP echo request without a checksum.
func echo(kind byte, id, seq uint16, payload []byte) []byte {
	b := make([]byte, 8, 8+len(payload))
	b[0] = kind
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	return append(b, payload...)
}

// IPPacket returns an IP packet with a message of any protocol. If sum is not negative, the
// message has a checksum like UDP's at that offset, which IPPacket fills in. For the families
// see TCPPacket.
func IPPacket(src, dst netip.Addr, proto byte, message []byte, sum int) []byte {
	return ipPacket(src, dst, proto, slices.Clone(message), sum)
}

// ipPacket puts an IP header before a transport message and fills in the message's checksum at
// offset sum, if sum is not negative.
func ipPacket(src, dst netip.Addr, proto byte, message []byte, sum int) []byte {
	if src.Is4() != dst.Is4() {
		panic("nstest: a packet from " + src.String() + " to " + dst.String())
	}
	var pseudo uint32
	if proto != unix.IPPROTO_ICMP {
		pseudo = add(add(0, src.AsSlice()), dst.AsSlice()) + uint32(proto) + uint32(len(message))
	}
	if sum >= 0 {
		c := fold(add(pseudo, message))
		if c == 0 && proto == unix.IPPROTO_UDP {
			c = 0xffff // 0 would mean "no checksum"
		}
		binary.BigEndian.PutUint16(message[sum:], c)
	}

	if dst.Is4() {
		h := make([]byte, 20, 20+len(message))
		h[0], h[8], h[9] = 0x45, 64, proto
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(message)))
		copy(h[12:], src.AsSlice())
		copy(h[16:], dst.AsSlice())
		binary.BigEndian.PutUint16(h[10:], fold(add(0, h)))
		return append(h, message...)
	}
	h := make([]byte, 40, 40+len(message))
	h[0], h[6], h[7] = 0x60, proto, 64
	binary.BigEndian.PutUint16(h[4:], uint16(len(message)))
	copy(h[8:], src.AsSlice())
	copy(h[24:], dst.AsSlice())
	return append(h, message...)
}

// add sums 16 bit words, the last padded with 0. 64 KiB of them fit 32 bits.
func add(sum uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

// fold is the ones' complement of a sum in ones' complement.
func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
