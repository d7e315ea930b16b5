package portpool

import (
	"cmp"
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// Group is the flows of one protocol from one egress address to one destination address and
// port: their source ports have to differ.
type Group struct {
	Protocol    uint8 // IPPROTO_...
	Egress      netip.Addr
	Destination netip.Addr
	// Port is the port of the destination. For ICMP and ICMPv6 it is 256 times the type of
	// the request plus its code, as in icmpTypeCodeIPv4 of RFC 5102.
	Port uint16
	// Zone is the conntrack zone in which replies are looked up; 0 unless a rule sets one.
	Zone uint16
}

func (g Group) compare(o Group) int {
	return cmp.Or(cmp.Compare(g.Protocol, o.Protocol), g.Egress.Compare(o.Egress),
		g.Destination.Compare(o.Destination), cmp.Compare(g.Port, o.Port), cmp.Compare(g.Zone, o.Zone))
}

// groupOf returns the group of a translated flow.
func groupOf(f *conntrack.Flow) Group {
	r := &f.Reply
	g := Group{Protocol: r.Proto, Egress: r.Dst, Destination: r.Src, Port: r.SrcPort, Zone: r.Zone}
	if isICMP(r.Proto) {
		g.Port = uint16(f.Original.Type)<<8 | uint16(f.Original.Code)
	}
	return g
}

func isICMP(proto uint8) bool { return proto == unix.IPPROTO_ICMP || proto == unix.IPPROTO_ICMPV6 }

// hasChosenPort reports whether the kernel chooses a source port, or an ICMP ID, for flows
// of a protocol. For GRE it chooses none: the PPTP helper chooses the key.
func hasChosenPort(proto uint8) bool {
	switch proto {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE, unix.IPPROTO_SCTP, unix.IPPROTO_DCCP:
		return true
	}
	return isICMP(proto)
}

// key is a Group as numbers, for hashing.
type key [5]uint64

// keyOf returns the group in which a tuple uses a port, and that port. The tuple is that of
// a packet from the destination. ICMP requests and replies never have equal tuples.
func keyOf(t *conntrack.Tuple) (k key, port uint16) {
	from, to := t.Src.As16(), t.Dst.As16()
	rest := uint64(t.Zone)<<40 | uint64(t.Proto)<<32
	if t.Src.Is4() {
		rest |= 1 << 56
	}
	if isICMP(t.Proto) {
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
