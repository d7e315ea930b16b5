package portpool

import (
	"cmp"
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// Group is what flows have to differ in their source port for: the far end, and the
// address that it sees.
type Group struct {
	Protocol    uint8 // IPPROTO_...
	Egress      netip.Addr
	Destination netip.Addr
	// Port is the destination's. Of ICMP and ICMPv6 it is 256 times the type of the
	// request plus its code, as in icmpTypeCodeIPv4 of RFC 5102.
	Port uint16
	// Zone is the conntrack zone in which answers are looked up; mostly 0.
	Zone uint16
}

func (g Group) compare(o Group) int {
	return cmp.Or(cmp.Compare(g.Protocol, o.Protocol), g.Egress.Compare(o.Egress),
		g.Destination.Compare(o.Destination), cmp.Compare(g.Port, o.Port), cmp.Compare(g.Zone, o.Zone))
}

// groupOf is the group that a translated flow is in.
func groupOf(f *conntrack.Flow) Group {
	r := &f.Reply
	g := Group{Protocol: r.Proto, Egress: r.Dst, Destination: r.Src, Port: r.SrcPort, Zone: r.Zone}
	if icmp(r.Proto) {
		g.Port = uint16(f.Original.Type)<<8 | uint16(f.Original.Code)
	}
	return g
}

func icmp(proto uint8) bool { return proto == unix.IPPROTO_ICMP || proto == unix.IPPROTO_ICMPV6 }

// chosen reports whether the kernel chooses a source port, or an ID, for a protocol.
// The key of GRE is not here: the PPTP helper sees to it.
func chosen(proto uint8) bool {
	switch proto {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE, unix.IPPROTO_SCTP, unix.IPPROTO_DCCP:
		return true
	}
	return icmp(proto)
}

// key is a Group in numbers, for a hash.
type key [5]uint64

// keyOf is the group in which a tuple, as a packet from the far end has it, takes a
// port. No tuple of a request of ICMP is one of an answer.
func keyOf(t *conntrack.Tuple) (k key, port uint16) {
	from, to := t.Src.As16(), t.Dst.As16()
	rest := uint64(t.Zone)<<40 | uint64(t.Proto)<<32
	if t.Src.Is4() {
		rest |= 1 << 56
	}
	if icmp(t.Proto) {
		rest |= uint64(t.Type)<<8 | uint64(t.Code)
		port = t.ID
	} else {
		rest |= uint64(t.SrcPort)
		port = t.DstPort
	}
	return key{
		binary.BigEndian.Uint64(from[:8]), binary.BigEndian.Uint64(from[8:]),
		binary.BigEndian.Uint64(to[:8]), binary.BigEndian.Uint64(to[8:]), rest,
	}, port
}
