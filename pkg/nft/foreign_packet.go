package nft

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// answer says whether a packet meets a condition.
type answer uint8

const (
	no answer = iota
	maybe
	yes
)

// walkedPacket is a kind of packet. It has no destination: rules may name some destinations, and
// the packet goes to another.
type walkedPacket struct {
	v6        bool
	proto     byte
	typ, code byte   // type and code of ICMP
	state     uint32 // a bit of ct state
	uplinks   []string
	arrives   bool // enters by an uplink
	leaves    bool // leaves by an uplink
	answers   bool // is an answer: the addresses of the run are destinations
	// to, if valid, is the address and port of the node that the packet was redirected to.
	to netip.AddrPort
	// strict says that a condition is certainly met only if the packets to all destinations, by
	// all uplinks and with all marks meet it.
	strict bool
}

// meet returns the addresses whose packets meet the conditions of a rule, and whether they
// certainly do. source says that the rule names the addresses.
func (p *walkedPacket) meet(r *foreignRule, from []netip.Addr) (meets []netip.Addr, a answer, source bool) {
	a = yes
	field := " saddr"
	if p.answers {
		field = " daddr"
	}
	for _, c := range r.conditions {
		if x, ok := c.prefix(); ok && strings.HasSuffix(c.field, field) && from[0].IsValid() {
			switch inside := within(from, x); {
			case c.not:
				from = without(from, inside)
			default:
				from, source = inside, true
			}
			if len(from) == 0 {
				return nil, no, source
			}
			continue
		}
		a = min(a, p.meets(c, r))
		if a == no {
			return nil, no, source
		}
	}
	return from, a, source
}

// meets answers for one condition of a rule.
func (p *walkedPacket) meets(c condition, r *foreignRule) answer {
	is := func(equal bool) answer {
		if equal != c.not {
			return yes
		}
		return no
	}
	if strings.HasPrefix(c.field, "ip ") && p.v6 || strings.HasPrefix(c.field, "ip6 ") && !p.v6 {
		return no
	}
	one := len(c.value) == 1 && c.mask == nil && !c.bits
	if p.to.IsValid() {
		if a, known := p.meetsRedirected(c, is); known {
			return a
		}
	}
	switch c.field {
	case "ip daddr", "ip6 daddr", "fib daddr type":
		if p.strict || p.arrives || !p.leaves {
			return maybe
		}
		return is(false)
	case "meta l4proto", "ip protocol", "ip6 nexthdr":
		if one {
			return is(c.value[0] == p.proto)
		}
	case "meta nfproto":
		if one {
			return is((c.value[0] == unix.NFPROTO_IPV6) == p.v6)
		}
	case "icmp type", "icmpv6 type":
		if one {
			return is(c.value[0] == p.typ)
		}
	case "icmp code", "icmpv6 code":
		if one {
			return is(c.value[0] == p.code)
		}
	case "icmp type . code", "icmpv6 type . code":
		if len(c.value) == 2 && c.mask == nil {
			return is(c.value[0] == p.typ && c.value[1] == p.code)
		}
	case "ct state":
		switch {
		case c.bits && p.strict && hostNumber(c.mask)&(p.state|ctStates["untracked"]) == ctStates["untracked"]:
			// In a match of iptables, this bit says that the source is translated
			// (XT_CONNTRACK_STATE_SNAT).
			return maybe
		case c.bits:
			return is(hostNumber(c.mask)&p.state != 0)
		case c.mask == nil && len(c.value) == 4:
			return is(hostNumber(c.value) == p.state)
		}
	case "meta mark":
		// The packet has no mark that is known. A rule that needs one may still end the
		// chain for packets that have it.
		zero := hostNumber(c.value) == 0
		switch {
		case p.strict:
			return maybe
		case c.bits || zero == c.not:
			if slices.Contains([]string{"masquerade", "snat", "drop", "reject"}, r.action) {
				return no
			}
			return maybe
		case len(c.value) == 4:
			return yes
		}
	case "iifname":
		if p.arrives {
			return p.link(c)
		}
		if !p.leaves {
			return is(false)
		}
	case "oifname":
		if p.leaves {
			return p.link(c)
		}
	}
	return maybe
}

// meetsRedirected answers for conditions about the destination and the input interface of a
// redirected packet. Only its destination and that it enters by no uplink are known.
func (p *walkedPacket) meetsRedirected(c condition, is func(bool) answer) (a answer, known bool) {
	one := c.mask == nil && !c.bits
	switch c.field {
	case "ip daddr", "ip6 daddr":
		if x, ok := c.prefix(); ok {
			return is(x.Contains(p.to.Addr())), true
		}
	case "fib daddr type":
		if one && len(c.value) == 4 {
			return is(hostNumber(c.value) == unix.RTN_LOCAL), true
		}
	case "tcp dport", "udp dport", "th dport":
		if one && len(c.value) == portLen {
			return is(binary.BigEndian.Uint16(c.value) == p.to.Port()), true
		}
	case "ct status":
		if c.bits && hostNumber(c.mask) == ipsDstNAT {
			return is(true), true
		}
	case "ct state":
		if c.bits && hostNumber(c.mask)&xtStateDNAT != 0 {
			return is(true), true
		}
	case "iifname":
		name, _, _ := strings.Cut(string(c.value), "\x00")
		if one && (name == "lo" || slices.Contains(p.uplinks, name)) {
			return is(false), true
		}
		return maybe, true
	}
	return maybe, false
}

const (
	ipsDstNAT   = 1 << 5 // IPS_DST_NAT of enum ip_conntrack_status
	xtStateDNAT = 1 << 7 // XT_CONNTRACK_STATE_DNAT of xt_conntrack.h
)

// link answers whether the uplinks have a name. For some of several, it answers yes, or maybe if
// strict.
func (p *walkedPacket) link(c condition) answer {
	want, whole := string(c.value), strings.Contains(string(c.value), "\x00") || len(c.value) == unix.IFNAMSIZ
	want, _, _ = strings.Cut(want, "\x00")
	if c.mask != nil || len(p.uplinks) == 0 {
		return maybe
	}
	n := 0
	for _, u := range p.uplinks {
		if (u == want || !whole && strings.HasPrefix(u, want)) != c.not {
			n++
		}
	}
	switch {
	case n == 0:
		return no
	case n < len(p.uplinks) && p.strict:
		return maybe
	}
	return yes
}

// within returns the addresses of a sorted list that a prefix contains, which follow each other.
func within(all []netip.Addr, p netip.Prefix) []netip.Addr {
	begin, _ := slices.BinarySearchFunc(all, p.Masked().Addr(), netip.Addr.Compare)
	end := begin
	for end < len(all) && p.Contains(all[end]) {
		end++
	}
	return all[begin:end]
}

// without returns the addresses of a that b lacks. Both are sorted.
func without(a, b []netip.Addr) []netip.Addr {
	switch {
	case len(b) == 0:
		return a
	case len(a) == len(b): // b is a part of a
		return nil
	}
	out := make([]netip.Addr, 0, len(a)-len(b))
	for _, x := range a {
		if len(b) > 0 && x == b[0] {
			b = b[1:]
			continue
		}
		out = append(out, x)
	}
	return out
}

// union returns the addresses of both sorted lists, which have none in common or are equal.
func union(a, b []netip.Addr) []netip.Addr {
	switch {
	case len(a) == 0:
		return b
	case len(b) == 0:
		return a
	}
	out := slices.Concat(a, b)
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}
