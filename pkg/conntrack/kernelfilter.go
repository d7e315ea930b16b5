package conntrack

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// A query is a request for a dump. The kernel sends all flows that a filter selects, and
// others that it cannot filter.
type query struct {
	family uint8 // of struct nfgenmsg; 0 for both
	attrs  []byte
}

// queries returns the queries for a filter. The kernel compares tuples only if the request
// has a family, so a filter for a port takes one query for each family.
func (x *Filter) queries() []query {
	if families := x.families(); families != nil {
		var all []query
		for _, f := range families {
			all = append(all, query{nfproto(f), x.attrs(f)})
		}
		return all
	}
	return []query{{0, x.attrs(0)}}
}

func (x *Filter) families() []masq.Family {
	if x.Family != 0 {
		return []masq.Family{x.Family}
	}
	for _, a := range x.addresses() {
		return []masq.Family{masq.FamilyOf(a)}
	}
	if x.Original.Proto != 0 || x.Reply.Proto != 0 {
		return masq.Families[:]
	}
	return nil
}

func (x *Filter) addresses() []netip.Addr {
	var all []netip.Addr
	for _, a := range []netip.Addr{x.Original.Src, x.Original.Dst, x.Reply.Src, x.Reply.Dst} {
		if a.IsValid() {
			all = append(all, a)
		}
	}
	return all
}

func nfproto(f masq.Family) uint8 {
	switch f {
	case masq.IPv4:
		return unix.NFPROTO_IPV4
	case masq.IPv6:
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_UNSPEC
}

// attrs returns the attributes of a dump. A kernel that lacks one of these filters ignores
// the attribute, and sends more flows.
func (x *Filter) attrs(family masq.Family) []byte {
	var e netlink.Encoder
	if x.StatusMask != 0 { // Requires Linux 5.15.
		e.Uint32(ctaStatus, uint32(x.Status))
		e.Uint32(ctaStatusMask, uint32(x.StatusMask))
	}
	if x.MarkMask != 0 { // Some kernels filter only with both attributes.
		e.Uint32(ctaMark, x.Mark)
		e.Uint32(ctaMarkMask, x.MarkMask)
	}
	if x.ByZone { // Requires Linux 6.8; ignored before.
		e.Uint16(ctaZone, x.Zone)
	}
	if family == 0 {
		return e
	}
	// Requires Linux 5.8 (CTA_FILTER).
	orig, reply := x.Original.filterFlags(), x.Reply.filterFlags()
	if orig|reply == 0 {
		return e
	}
	if orig != 0 {
		x.Original.writeFilter(&e, ctaTupleOrig, family)
	}
	if reply != 0 {
		x.Reply.writeFilter(&e, ctaTupleReply, family)
	}
	// Unlike all other attributes, these are not in network byte order
	// (ctnetlink_parse_filter in net/netfilter/nf_conntrack_netlink.c).
	at := e.BeginNest(ctaFilter)
	e.NativeUint32(ctaFilterOrigFlags, orig)
	e.NativeUint32(ctaFilterReplyFlags, reply)
	e.End(at)
	return e
}

// filterFlags returns the fields that the kernel can compare.
func (t *Tuple) filterFlags() uint32 {
	var flags uint32
	// The kernel inverts the comparison of IPv6 addresses: it sends all flows except the
	// selected ones (ctnetlink_filter_match_tuple, from Linux 5.8 to at least 6.18).
	if t.Src.Is4() {
		flags |= byIPSrc
	}
	if t.Dst.Is4() {
		flags |= byIPDst
	}
	// The kernel compares ports only together with the protocol, and only of TCP and UDP.
	if t.Proto != 0 {
		flags |= byProto
		if t.Proto == unix.IPPROTO_TCP || t.Proto == unix.IPPROTO_UDP {
			if t.SrcPort != 0 {
				flags |= bySrcPort
			}
			if t.DstPort != 0 {
				flags |= byDstPort
			}
		}
	}
	return flags
}

// writeFilter appends the tuple, with unspecified addresses in place of missing ones. The
// kernel ignores fields that filterFlags does not return.
func (t *Tuple) writeFilter(e *netlink.Encoder, typ uint16, family masq.Family) {
	u := *t
	for _, a := range []*netip.Addr{&u.Src, &u.Dst} {
		if a.IsValid() {
			continue
		}
		*a = netip.IPv6Unspecified()
		if family == masq.IPv4 {
			*a = netip.IPv4Unspecified()
		}
	}
	u.write(e, typ, 0)
}
