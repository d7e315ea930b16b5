package nstest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Types and codes of ICMP.
const (
	icmpEchoReply, icmpUnreachable, icmpEcho, icmpTimeExceeded = 0, 3, 8, 11
	icmpFragNeeded                                             = 4 // code of "destination unreachable"

	icmp6Unreachable, icmp6TooBig, icmp6TimeExceeded, icmp6Echo, icmp6EchoReply = 1, 2, 3, 128, 129
)

// TCPFlags are the flag bits of a TCP header.
type TCPFlags uint8

// The flags, as in the header.
const (
	FIN TCPFlags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
)

// String returns the flags' letters in tcpdump's form ("." is ACK).
func (f TCPFlags) String() string {
	var b strings.Builder
	for i, c := range "FSRP.U" {
		if f&(1<<i) != 0 {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// Packet is a decoded IP packet. Fields of other protocols are zero. Transport fields are zero
// in every fragment except the first.
type Packet struct {
	Time     time.Time // when a Capture read it
	Outgoing bool      // sent by the interface of the Capture, not received

	Src, Dst      netip.Addr
	TTL           uint8
	Proto         uint8 // transport protocol, after IPv6 extension headers
	FragOffset    int   // bytes
	MoreFragments bool
	DontFragment  bool // IPv4
	Length        int  // length of the packet with its IP header in bytes, from the header

	SrcPort, DstPort uint16
	TCPFlags         TCPFlags
	Seq, Ack         uint32
	MSS              uint16 // 0 if the segment has no such option

	ICMPType, ICMPCode uint8
	ICMPRest           uint32 // identifier and sequence, or the MTU, ...

	// Payload is the data after the transport header, or after the IP headers for protocols other
	// than TCP, UDP and ICMP. For an ICMP error it is the quoted packet: see Decode. A Capture keeps
	// the first 2048 bytes of a packet.
	Payload []byte
}

// Source returns the source address and port.
func (p Packet) Source() netip.AddrPort { return netip.AddrPortFrom(p.Src, p.SrcPort) }

// Destination returns the destination address and port.
func (p Packet) Destination() netip.AddrPort { return netip.AddrPortFrom(p.Dst, p.DstPort) }

// String returns one line for a failed test.
func (p Packet) String() string {
	var b strings.Builder
	switch p.Proto {
	case unix.IPPROTO_TCP:
		fmt.Fprintf(&b, "%v > %v tcp [%v] seq %d", p.Source(), p.Destination(), p.TCPFlags, p.Seq)
		if p.MSS != 0 {
			fmt.Fprintf(&b, " mss %d", p.MSS)
		}
	case unix.IPPROTO_UDP:
		fmt.Fprintf(&b, "%v > %v udp", p.Source(), p.Destination())
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		fmt.Fprintf(&b, "%v > %v icmp %d/%d rest %#x", p.Src, p.Dst, p.ICMPType, p.ICMPCode, p.ICMPRest)
	default:
		fmt.Fprintf(&b, "%v > %v proto %d", p.Src, p.Dst, p.Proto)
	}
	if p.FragOffset != 0 || p.MoreFragments {
		fmt.Fprintf(&b, " frag %d more %v", p.FragOffset, p.MoreFragments)
	}
	fmt.Fprintf(&b, " ttl %d len %d", p.TTL, p.Length)
	return b.String()
}

var errShort = errors.New("packet is shorter than its IP header")

// Decode decodes an IP packet, which may be truncated, as in an ICMP error: missing fields are
// zero. Payload shares memory with b.
func Decode(b []byte) (Packet, error) {
	var p Packet
	var err error
	switch {
	case len(b) == 0:
		err = errShort
	case b[0]>>4 == 4:
		b, err = p.decode4(b)
	case b[0]>>4 == 6:
		b, err = p.decode6(b)
	default:
		err = fmt.Errorf("IP version %d", b[0]>>4)
	}
	if err != nil {
		return Packet{}, err
	}
	p.Payload = b
	if p.FragOffset == 0 {
		p.decodeTransport(b)
	}
	return p, nil
}

func (p *Packet) decode4(b []byte) ([]byte, error) {
	if len(b) < 20 {
		return nil, errShort
	}
	header := int(b[0]&15) * 4
	if header < 20 || header > len(b) {
		return nil, errShort
	}
	p.Length = int(binary.BigEndian.Uint16(b[2:]))
	frag := binary.BigEndian.Uint16(b[6:])
	p.DontFragment, p.MoreFragments = frag&0x4000 != 0, frag&0x2000 != 0
	p.FragOffset = int(frag&0x1fff) * 8
	p.TTL, p.Proto = b[8], b[9]
	p.Src, p.Dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	// Ethernet pads short frames, and a truncated packet is shorter than its header says.
	return b[header:max(header, min(p.Length, len(b)))], nil
}

func (p *Packet) decode6(b []byte) ([]byte, error) {
	if len(b) < 40 {
		return nil, errShort
	}
	p.Length = 40 + int(binary.BigEndian.Uint16(b[4:]))
	p.Proto, p.TTL = b[6], b[7]
	p.Src, p.Dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	rest := b[40:min(p.Length, len(b))]
	for len(rest) >= 8 {
		size := 8 + int(rest[1])*8
		switch p.Proto {
		case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS:
		case unix.IPPROTO_FRAGMENT:
			frag := binary.BigEndian.Uint16(rest[2:])
			p.FragOffset, p.MoreFragments = int(frag&^7), frag&1 != 0
			size = 8
		default:
			return rest, nil
		}
		if size > len(rest) {
			return rest, nil
		}
		p.Proto, rest = rest[0], rest[size:]
		if p.FragOffset != 0 {
			return rest, nil
		}
	}
	return rest, nil
}

func (p *Packet) decodeTransport(b []byte) {
	header := 8
	switch p.Proto {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP:
		if len(b) < 8 {
			return
		}
		p.SrcPort, p.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		if p.Proto == unix.IPPROTO_UDP {
			break
		}
		p.Seq = binary.BigEndian.Uint32(b[4:])
		if len(b) < 20 {
			return
		}
		p.Ack, p.TCPFlags = binary.BigEndian.Uint32(b[8:]), TCPFlags(b[13])
		if header = int(b[12]>>4) * 4; header < 20 || header > len(b) {
			return
		}
		p.MSS = mssOption(b[20:header])
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		if len(b) < 8 {
			return
		}
		p.ICMPType, p.ICMPCode, p.ICMPRest = b[0], b[1], binary.BigEndian.Uint32(b[4:])
	default:
		return
	}
	p.Payload = b[header:]
}

// mssOption returns the maximum segment size among TCP options, 0 if none.
func mssOption(o []byte) uint16 {
	for len(o) > 0 {
		switch {
		case o[0] == 0: // end of the list
			return 0
		case o[0] == 1: // padding
			o = o[1:]
			continue
		case len(o) < 2 || o[1] < 2 || int(o[1]) > len(o):
			return 0
		case o[0] == 2 && o[1] == 4:
			return binary.BigEndian.Uint16(o[2:])
		}
		o = o[o[1]:]
	}
	return 0
}
