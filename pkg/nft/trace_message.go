package nft

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// traceMessage is one message of the kernel about a traced packet.
type traceMessage struct {
	id            uint32
	kind          TraceKind
	family        uint8
	table, chain  string
	handle        uint64
	verdict       int32
	target        string // the chain of a jump
	headers       bool   // the message begins a base chain, and has the packet's headers
	in, out, mark uint32
	packet        Packet
}

// readTrace reads a message of the group NFNLGRP_NFTRACE (nft_trace_notify in
// net/netfilter/nf_tables_trace.c). ok is false for other messages.
func readTrace(m *netlink.Message) (x traceMessage, ok bool, err error) {
	if m.Type != messageType(unix.NFT_MSG_TRACE) {
		return x, false, nil
	}
	family, b, err := attributes(m)
	if err != nil {
		return x, false, err
	}
	f, err := fields(b)
	if err != nil {
		return x, false, err
	}
	x = traceMessage{
		id: number(f[unix.NFTA_TRACE_ID]), family: family,
		table: netlink.Text(f[unix.NFTA_TRACE_TABLE]), chain: netlink.Text(f[unix.NFTA_TRACE_CHAIN]),
		handle: number64(f[unix.NFTA_TRACE_RULE_HANDLE]),
		in:     number(f[unix.NFTA_TRACE_IIF]), out: number(f[unix.NFTA_TRACE_OIF]), mark: number(f[unix.NFTA_TRACE_MARK]),
	}
	switch number(f[unix.NFTA_TRACE_TYPE]) {
	case unix.NFT_TRACETYPE_RULE:
		x.kind = TraceRule
	case unix.NFT_TRACETYPE_RETURN:
		x.kind = TraceReturn
	case unix.NFT_TRACETYPE_POLICY:
		x.kind, x.verdict = TracePolicy, int32(number(f[unix.NFTA_TRACE_POLICY]))
	default:
		return x, false, nil
	}
	if v, has := f[unix.NFTA_TRACE_VERDICT]; has {
		v, err := fields(v)
		if err != nil {
			return x, false, err
		}
		x.verdict, x.target = int32(number(v[unix.NFTA_VERDICT_CODE])), netlink.Text(v[unix.NFTA_VERDICT_CHAIN])
	}
	if h, has := f[unix.NFTA_TRACE_NETWORK_HEADER]; has {
		x.headers, x.packet = true, readPacket(h, f[unix.NFTA_TRACE_TRANSPORT_HEADER])
	}
	return x, true, nil
}

// Packet has the fields of a packet's headers. Fields that the packet lacks are zero.
type Packet struct {
	Source, Destination netip.AddrPort
	Protocol            uint8
	// Length is the length of the packet with its IP header, in bytes.
	Length int
	TTL    uint8
	// DontFragment is set in packets of IPv6.
	DontFragment bool
	TCPFlags     uint8
	// ICMPType and ICMPCode are set in packets of ICMP and ICMPv6.
	ICMPType, ICMPCode uint8
}

// readPacket reads the beginnings of a packet's network header and transport header: the
// kernel reports at most 40 and 20 bytes.
func readPacket(network, transport []byte) (p Packet) {
	if len(network) < 1 {
		return p
	}
	var src, dst netip.Addr
	switch v := network[0] >> 4; {
	case v == 4 && len(network) >= 20:
		src, dst = netip.AddrFrom4([4]byte(network[12:16])), netip.AddrFrom4([4]byte(network[16:20]))
		p.Protocol, p.TTL, p.Length = network[9], network[8], int(binary.BigEndian.Uint16(network[2:]))
		p.DontFragment = network[6]&0x40 != 0
	case v == 6 && len(network) >= 40:
		src, dst = netip.AddrFrom16([16]byte(network[8:24])), netip.AddrFrom16([16]byte(network[24:40]))
		p.Protocol, p.TTL, p.Length, p.DontFragment = network[6], network[7], 40+int(binary.BigEndian.Uint16(network[4:])), true
	default:
		return p
	}
	var sport, dport uint16
	switch p.Protocol {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP:
		if len(transport) >= 4 {
			sport, dport = binary.BigEndian.Uint16(transport), binary.BigEndian.Uint16(transport[2:])
		}
		const flagsAt = 13 // RFC 9293, section 3.1
		if p.Protocol == unix.IPPROTO_TCP && len(transport) > flagsAt {
			p.TCPFlags = transport[flagsAt]
		}
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		if len(transport) >= 2 {
			p.ICMPType, p.ICMPCode = transport[0], transport[1]
		}
	}
	p.Source, p.Destination = netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport)
	return p
}
