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
// are those of ct state. ok is false if the match compares other values too.
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
