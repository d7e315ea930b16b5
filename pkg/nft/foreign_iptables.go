package nft

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// match decodes a match of iptables-nft, which the kernel runs as an expression
// (nft_compat.c).
func (r *ruleReader) match(name string, revision uint32, info []byte) {
	switch name {
	case "comment": // struct xt_comment_info
		if r.comment == "" {
			r.comment = netlink.Text(info)
		}
		return
	case "icmp", "icmp6": // struct ipt_icmp and ip6t_icmp: type, first and last code, inversion
		if len(info) >= 4 && info[3] == 0 {
			r.icmp(name, info)
			return
		}
	case "conntrack", "state":
		if mask, not, ok := connectionStates(name, revision, info); ok {
			c := condition{field: "ct state", bits: true, not: not, mask: binary.NativeEndian.AppendUint32(nil, mask), value: make([]byte, 4)}
			r.conditions = append(r.conditions, c)
			op := uint32(unix.NFT_CMP_EQ)
			if not {
				op = unix.NFT_CMP_NEQ
			}
			text := c.text(op)
			if not {
				text = strings.Replace(text, "ct state ", "ct state != ", 1)
			}
			r.parts = append(r.parts, text)
			return
		}
	case "mark": // struct xt_mark_mtinfo1: mark, mask, inversion
		if len(info) >= 9 {
			c := condition{field: "meta mark", value: info[:4], mask: info[4:8], not: info[8] != 0}
			r.conditions = append(r.conditions, c)
			r.parts = append(r.parts, c.text(unix.NFT_CMP_EQ))
			return
		}
	case "addrtype":
		if types, not, ok := destinationTypes(revision, info); ok {
			c := condition{field: "fib daddr type", not: not}
			if types == decodeAddrType(binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)) {
				c.value = binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)
			}
			r.conditions = append(r.conditions, c)
			r.say("fib daddr type %s%s", map[bool]string{true: "!= "}[not], types)
			return
		}
	case "tcp", "udp":
		r.proto = map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP}[name]
	}
	r.unknown("[match " + name + "]")
}

// icmp decodes the type and the code. Type 255 is any type of IPv4.
func (r *ruleReader) icmp(name string, info []byte) {
	field, typ, first, last := "icmp", info[0], info[1], info[2]
	if name == "icmp6" {
		field = "icmpv6"
	}
	const anyType, anyCode = 255, 255
	if typ == anyType && name == "icmp" {
		return
	}
	add := func(c condition) {
		r.conditions = append(r.conditions, c)
		r.parts = append(r.parts, c.text(unix.NFT_CMP_EQ))
	}
	add(condition{field: field + " type", value: []byte{typ}})
	switch {
	case first == 0 && last == anyCode:
	case first == last:
		add(condition{field: field + " code", value: []byte{first}})
	default:
		r.unknown("[codes of " + field + "]")
	}
}

// connectionStates reads the states of struct xt_conntrack_mtinfo3 or xt_state_info, whose bits
// equal the bits of ct state. ok is false if the match also compares other values.
func connectionStates(name string, revision uint32, info []byte) (mask uint32, not, ok bool) {
	const states = 1 << 0 // XT_CONNTRACK_STATE
	const matchAt, invertAt, maskAt = 146, 148, 150
	switch {
	case name == "state" && len(info) >= 4:
		return binary.NativeEndian.Uint32(info), false, true
	case name == "conntrack" && revision >= 2 && len(info) >= maskAt+2:
		compared := binary.NativeEndian.Uint16(info[matchAt:])
		inverted := binary.NativeEndian.Uint16(info[invertAt:])
		return uint32(binary.NativeEndian.Uint16(info[maskAt:])), inverted&states != 0, compared == states
	}
	return 0, false, false
}

// destinationTypes reads struct xt_addrtype_info_v1. ok is false if it compares more than the
// type of the destination, or accepts unicast.
func destinationTypes(revision uint32, info []byte) (types string, not, ok bool) {
	if revision != 1 || len(info) < 8 {
		return "", false, false
	}
	const invertDestination = 2
	source, dest, flags := binary.NativeEndian.Uint16(info), binary.NativeEndian.Uint16(info[2:]), binary.NativeEndian.Uint32(info[4:])
	var names []string
	for i := range 16 {
		if dest&(1<<i) != 0 {
			names = append(names, decodeAddrType(binary.NativeEndian.AppendUint32(nil, uint32(i))))
		}
	}
	return strings.Join(names, ","), flags&invertDestination != 0, source == 0 && dest != 0 && dest&(1<<unix.RTN_UNICAST) == 0 && flags&^invertDestination == 0
}

// iptablesTarget decodes a target of iptables-nft.
func (r *ruleReader) iptablesTarget(name string) {
	switch name {
	case "MASQUERADE", "REJECT", "SNAT", "DNAT", "REDIRECT":
		r.do(strings.ToLower(name))
	case "DROP":
		r.do("drop")
	case "LOG", "NFLOG", "MARK", "CONNMARK", "TCPMSS", "CT", "TRACE", "CLASSIFY", "DSCP", "TOS", "TTL", "HL", "CHECKSUM", "NOTRACK", "SET", "SECMARK", "CONNSECMARK", "AUDIT", "IDLETIMER", "RATEEST":
		r.say("[target %s]", name) // the next rule follows
	case "NETMAP":
		r.do("snat")
	default:
		r.do(name)
	}
}
