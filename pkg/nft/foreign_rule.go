package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// foreignRule is a rule of any program. Parts that are not decoded are marked.
type foreignRule struct {
	handle     uint64
	comment    string
	conditions []condition
	// action is what the rule does with a packet that meets the conditions: "accept", "drop",
	// "reject", "return", "jump", "goto", "queue", "masquerade", "snat", "dnat", "redirect",
	// or the name of another target of iptables. It is empty if the rule only counts or
	// changes the packet.
	action string
	target string // the chain of jump and goto
	// packets is the value of the counter, or nil.
	packets *uint64
	// parts is the rule in nft's notation.
	parts []string
}

// condition is a comparison that a packet has to meet.
type condition struct {
	// field is nft's name of what is compared. It is empty if the condition is not
	// understood.
	field string
	// not says that the values must differ.
	not bool
	// value and mask are the bytes that are compared. mask is nil for all bits.
	value, mask []byte
	// bits says that one of the bits of mask must be set: "ct state established,related".
	bits bool
}

// prefix returns the prefix that an address is compared with.
func (c condition) prefix() (netip.Prefix, bool) {
	size := 4
	if strings.HasPrefix(c.field, "ip6 ") {
		size = 16
	}
	if !strings.HasSuffix(c.field, "addr") || len(c.value) == 0 || len(c.value) > size || c.bits {
		return netip.Prefix{}, false
	}
	full := make([]byte, size)
	copy(full, c.value)
	a, _ := netip.AddrFromSlice(full)
	bits := 8 * len(c.value) // for a prefix of whole bytes, nft loads a part of the address
	if c.mask != nil {
		bits = leadingOnes(c.mask)
	}
	return netip.PrefixFrom(a, bits), bits >= 0
}

// leadingOnes returns the number of one bits of a mask, or -1 if they are not its first.
func leadingOnes(mask []byte) (n int) {
	end := false
	for _, b := range mask {
		for bit := 7; bit >= 0; bit-- {
			one := b>>bit&1 == 1
			if one && end {
				return -1
			}
			if one {
				n++
			} else {
				end = true
			}
		}
	}
	return n
}

// text returns the rule in nft's notation. Expressions that are not decoded, and extensions
// of iptables, are names in brackets.
func (r *foreignRule) text() string {
	// As nft does, text omits the comparison of a protocol before the fields of the protocol.
	var out []string
	for i, p := range r.parts {
		header, isProtocol := impliedBy[p]
		if !isProtocol || !slices.ContainsFunc(r.parts[i+1:], func(next string) bool { return strings.HasPrefix(next, header) }) {
			out = append(out, p)
		}
	}
	return strings.Join(out, " ")
}

// impliedBy has the fields before which nft adds a comparison of a protocol.
var impliedBy = map[string]string{
	"meta protocol ip": "ip ", "meta protocol ip6": "ip6 ", "meta nfproto ipv4": "ip ", "meta nfproto ipv6": "ip6 ", "meta l4proto tcp": "tcp ", "meta l4proto udp": "udp ",
	"meta l4proto icmp": "icmp ", "meta l4proto ipv6-icmp": "icmpv6 ", "ip protocol tcp": "tcp ", "ip protocol udp": "udp ",
}

// nat returns how the rule translates, or "".
func (r *foreignRule) nat() string {
	switch r.action {
	case "masquerade", "snat", "dnat", "redirect":
		return r.action
	}
	return ""
}

// registerValue describes the value in a register of the kernel's virtual machine.
type registerValue struct {
	field string
	mask  []byte
	size  int
}

// ruleReader decodes the expressions of a rule.
type ruleReader struct {
	foreignRule
	registers map[uint32]registerValue
	proto     byte // the transport protocol that the rule has matched, or 0
}

// readRule decodes a rule from its attributes.
func readRule(f map[uint16][]byte) (foreignRule, error) {
	r := ruleReader{registers: map[uint32]registerValue{}}
	r.handle, r.comment = number64(f[unix.NFTA_RULE_HANDLE]), string(comment(f[unix.NFTA_RULE_USERDATA]))
	all, err := parseList(f[unix.NFTA_RULE_EXPRESSIONS])
	if err != nil {
		return foreignRule{}, err
	}
	for _, e := range all {
		x, err := fields(e.data)
		if err == nil {
			err = r.take(e.name, x)
		}
		if err != nil {
			return foreignRule{}, err
		}
	}
	return r.foreignRule, nil
}

func (r *ruleReader) say(format string, args ...any) {
	r.parts = append(r.parts, fmt.Sprintf(format, args...))
}

// unknown adds a condition that is not understood.
func (r *ruleReader) unknown(text string) {
	r.conditions = append(r.conditions, condition{})
	r.parts = append(r.parts, text)
}

// registerOf returns the number of a register in units of 4 bytes.
func registerOf(b []byte) uint32 {
	n := number(b)
	if n >= unix.NFT_REG32_00 {
		return n - unix.NFT_REG32_00
	}
	return 4 * (n - unix.NFT_REG_1)
}

// take decodes one expression (enum nft_*_attributes in uapi/linux/netfilter/nf_tables.h).
func (r *ruleReader) take(name string, f map[uint16][]byte) error {
	switch name {
	case "payload":
		if f[unix.NFTA_PAYLOAD_DREG] == nil {
			r.say("[payload]") // sets a field of the packet
			return nil
		}
		base, offset, size := number(f[unix.NFTA_PAYLOAD_BASE]), number(f[unix.NFTA_PAYLOAD_OFFSET]), number(f[unix.NFTA_PAYLOAD_LEN])
		r.registers[registerOf(f[unix.NFTA_PAYLOAD_DREG])] = registerValue{field: r.payloadName(base, offset, size), size: int(size)}
	case "meta":
		if f[unix.NFTA_META_DREG] == nil {
			r.say("meta %s set", nameAt(metaNames, number(f[unix.NFTA_META_KEY]), "[meta]"))
			return nil
		}
		r.registers[registerOf(f[unix.NFTA_META_DREG])] = registerValue{field: nameAt(metaNames, number(f[unix.NFTA_META_KEY]), "")}
	case "ct":
		if f[unix.NFTA_CT_DREG] == nil {
			r.say("[ct set]")
			return nil
		}
		field := ""
		if _, has := f[unix.NFTA_CT_DIRECTION]; !has {
			field = nameAt(ctNames, number(f[unix.NFTA_CT_KEY]), "")
		}
		r.registers[registerOf(f[unix.NFTA_CT_DREG])] = registerValue{field: field}
	case "fib":
		x := registerValue{}
		if number(f[unix.NFTA_FIB_RESULT]) == unix.NFT_FIB_RESULT_ADDRTYPE && number(f[unix.NFTA_FIB_FLAGS]) == unix.NFTA_FIB_F_DADDR {
			x.field = "fib daddr type"
		}
		r.registers[registerOf(f[unix.NFTA_FIB_DREG])] = x
	case "bitwise":
		mask, err := inside(f[unix.NFTA_BITWISE_MASK], unix.NFTA_DATA_VALUE)
		if err != nil {
			return err
		}
		x := r.registers[registerOf(f[unix.NFTA_BITWISE_SREG])]
		xor, err := inside(f[unix.NFTA_BITWISE_XOR], unix.NFTA_DATA_VALUE)
		if err != nil {
			return err
		}
		if x.mask != nil || mask == nil || !isZero(xor) {
			x = registerValue{} // another operation than a mask
		}
		x.mask = mask
		r.registers[registerOf(f[unix.NFTA_BITWISE_DREG])] = x
	case "cmp":
		return r.compare(f)
	case "lookup":
		r.lookUp(f)
	case "immediate":
		return r.immediate(f)
	case "reject":
		r.do("reject")
	case "masq":
		r.do("masquerade")
	case "redir":
		r.do("redirect")
	case "nat":
		r.do(map[bool]string{true: "snat", false: "dnat"}[number(f[unix.NFTA_NAT_TYPE]) == unix.NFT_NAT_SNAT])
	case "queue":
		r.do("queue")
	case "match":
		r.match(netlink.Text(f[unix.NFTA_MATCH_NAME]), number(f[unix.NFTA_MATCH_REV]), f[unix.NFTA_MATCH_INFO])
	case "target":
		r.iptablesTarget(netlink.Text(f[unix.NFTA_TARGET_NAME]))
	case "counter":
		packets := number64(f[unix.NFTA_COUNTER_PACKETS])
		r.packets = &packets
		r.say("counter packets %d bytes %d", packets, number64(f[unix.NFTA_COUNTER_BYTES]))
	case "notrack", "log":
		r.say("%s", name)
	case "byteorder", "objref", "dynset", "exthdr", "rt", "socket", "numgen", "hash", "osf", "tunnel", "xfrm", "range", "limit", "quota", "connlimit", "last":
		// These set registers or are conditions.
		for _, dreg := range destinationRegisters[name] {
			if b := f[dreg]; b != nil {
				r.registers[registerOf(b)] = registerValue{}
			}
		}
		if name == "last" || name == "byteorder" {
			return nil
		}
		r.unknown("[" + name + "]")
	default:
		r.unknown("[" + name + "]")
	}
	return nil
}

// destinationRegisters has the attribute of the register that an expression writes.
var destinationRegisters = map[string][]uint16{
	"byteorder": {unix.NFTA_BYTEORDER_DREG}, "exthdr": {unix.NFTA_EXTHDR_DREG}, "rt": {unix.NFTA_RT_DREG},
	"socket": {1}, "numgen": {1}, "hash": {2}, "osf": {1}, "tunnel": {2}, "xfrm": {1},
}

// do sets the action.
func (r *ruleReader) do(action string) {
	r.action = action
	r.parts = append(r.parts, action)
}

// compare decodes a cmp.
func (r *ruleReader) compare(f map[uint16][]byte) error {
	value, err := inside(f[unix.NFTA_CMP_DATA], unix.NFTA_DATA_VALUE)
	if err != nil {
		return err
	}
	x, op := r.registers[registerOf(f[unix.NFTA_CMP_SREG])], number(f[unix.NFTA_CMP_OP])
	c := condition{field: x.field, value: value, mask: x.mask, not: op == unix.NFT_CMP_NEQ}
	switch {
	case op != unix.NFT_CMP_EQ && op != unix.NFT_CMP_NEQ:
		c.field = ""
	case x.mask != nil && op == unix.NFT_CMP_NEQ && isZero(value) && !strings.HasSuffix(x.field, "addr"):
		c.bits, c.not = true, false
	}
	if op == unix.NFT_CMP_EQ && len(value) > 0 && (x.field == "meta l4proto" || x.field == "ip protocol" || x.field == "ip6 nexthdr") && x.mask == nil {
		r.proto = value[0]
	}
	r.conditions = append(r.conditions, c)
	r.parts = append(r.parts, c.text(op))
	return nil
}

func isZero(b []byte) bool { return strings.Trim(string(b), "\x00") == "" }

var comparisons = map[uint32]string{unix.NFT_CMP_EQ: "", unix.NFT_CMP_NEQ: "!= ", unix.NFT_CMP_LT: "< ", unix.NFT_CMP_LTE: "<= ", unix.NFT_CMP_GT: "> ", unix.NFT_CMP_GTE: ">= "}

// text returns the condition in nft's notation.
func (c condition) text(op uint32) string {
	if c.field == "" || len(c.value) == 0 {
		return "[comparison]"
	}
	sign := comparisons[op]
	if c.bits {
		sign = ""
	}
	if p, ok := c.prefix(); ok {
		if p.IsSingleIP() {
			return c.field + " " + sign + p.Addr().String()
		}
		return c.field + " " + sign + p.String()
	}
	v := c.value
	switch c.field {
	case "iifname", "oifname":
		name := netlink.Text(v)
		if len(v) < unix.IFNAMSIZ && !strings.Contains(string(v), "\x00") {
			name += "*" // nft compares the beginning of the name
		}
		return fmt.Sprintf("%s %s%q", c.field, sign, name)
	case "ct state":
		return "ct state " + sign + stateNames(c.mask)
	case "ip protocol", "ip6 nexthdr", "meta l4proto":
		return c.field + " " + sign + protocolName(v[0])
	case "fib daddr type":
		return c.field + " " + sign + decodeAddrType(v)
	case "meta protocol":
		if name := map[string]string{"\x08\x00": "ip", "\x86\xdd": "ip6", "\x08\x06": "arp"}[string(v)]; name != "" {
			return c.field + " " + sign + name
		}
	case "meta nfproto":
		return c.field + " " + sign + map[byte]string{unix.NFPROTO_IPV4: "ipv4", unix.NFPROTO_IPV6: "ipv6"}[v[0]]
	case "icmp type", "icmp code", "icmpv6 type", "icmpv6 code":
		return fmt.Sprintf("%s %s%d", c.field, sign, v[0])
	}
	if c.mask != nil {
		return fmt.Sprintf("%s & %#x %s%#x", c.field, hostNumber(c.mask), map[bool]string{true: "!= ", false: "== "}[c.not || c.bits], hostNumber(v))
	}
	if strings.HasSuffix(c.field, "port") && len(v) == portLen {
		return fmt.Sprintf("%s %s%d", c.field, sign, binary.BigEndian.Uint16(v))
	}
	return fmt.Sprintf("%s %s%#x", c.field, sign, hostNumber(v))
}

// hostNumber returns the value of a register in the machine's byte order.
func hostNumber(b []byte) uint32 {
	var full [4]byte
	copy(full[:], b)
	return binary.NativeEndian.Uint32(full[:])
}

func protocolName(p byte) string {
	for name, n := range transports {
		if n == p {
			return name
		}
	}
	switch p {
	case unix.IPPROTO_ICMP:
		return "icmp"
	case unix.IPPROTO_ICMPV6:
		return "ipv6-icmp"
	}
	return fmt.Sprint(p)
}

// stateNames returns the names of the bits of ct state.
func stateNames(mask []byte) string {
	var out []string
	for _, name := range []string{"invalid", "established", "related", "new", "untracked"} {
		if hostNumber(mask)&ctStates[name] != 0 {
			out = append(out, name)
		}
	}
	return strings.Join(out, ",")
}

// lookUp decodes the lookup of a field in a set or a map.
func (r *ruleReader) lookUp(f map[uint16][]byte) {
	field := r.registers[registerOf(f[unix.NFTA_LOOKUP_SREG])].field
	if field == "" {
		field = "[fields]"
	}
	set := "@" + netlink.Text(f[unix.NFTA_LOOKUP_SET])
	dreg := f[unix.NFTA_LOOKUP_DREG]
	not := number(f[unix.NFTA_LOOKUP_FLAGS])&unix.NFT_LOOKUP_F_INV != 0
	switch {
	case dreg == nil && strings.Contains(field, " daddr"):
		r.conditions = append(r.conditions, condition{field: field, not: not})
		r.say("%s%s %s", field, map[bool]string{true: " !="}[not], set)
	case dreg == nil && not:
		r.unknown(field + " != " + set)
	case dreg == nil:
		r.unknown(field + " " + set)
	case number(dreg) == unix.NFT_REG_VERDICT:
		r.unknown(field + " vmap " + set)
		r.action = "vmap"
	default:
		r.registers[registerOf(dreg)] = registerValue{}
		r.unknown(field + " map " + set)
	}
}

// immediate decodes a verdict.
func (r *ruleReader) immediate(f map[uint16][]byte) error {
	v, err := inside(f[unix.NFTA_IMMEDIATE_DATA], unix.NFTA_DATA_VERDICT)
	if err != nil || v == nil {
		return err
	}
	x, err := fields(v)
	if err != nil {
		return err
	}
	r.target = netlink.Text(x[unix.NFTA_VERDICT_CHAIN])
	text := verdictText(int32(number(x[unix.NFTA_VERDICT_CODE])), r.target)
	if text == "continue" {
		return nil
	}
	r.action, _, _ = strings.Cut(text, " ")
	r.parts = append(r.parts, text)
	return nil
}

func nameAt(names []string, i uint32, other string) string {
	if i < uint32(len(names)) && names[i] != "" {
		return names[i]
	}
	return other
}

var metaNames = []string{
	unix.NFT_META_PROTOCOL: "meta protocol", unix.NFT_META_MARK: "meta mark", unix.NFT_META_IIF: "iif", unix.NFT_META_OIF: "oif",
	unix.NFT_META_IIFNAME: "iifname", unix.NFT_META_OIFNAME: "oifname", unix.NFT_META_NFTRACE: "meta nftrace",
	unix.NFT_META_NFPROTO: "meta nfproto", unix.NFT_META_L4PROTO: "meta l4proto", unix.NFT_META_IIFGROUP: "iifgroup", unix.NFT_META_OIFGROUP: "oifgroup",
}

var ctNames = []string{unix.NFT_CT_STATE: "ct state", unix.NFT_CT_DIRECTION: "ct direction", unix.NFT_CT_STATUS: "ct status", unix.NFT_CT_MARK: "ct mark"}

// payloadName returns nft's name of a field of a header, or "".
func (r *ruleReader) payloadName(base, offset, size uint32) string {
	switch base {
	case unix.NFT_PAYLOAD_NETWORK_HEADER:
		switch {
		case offset == 12 && size <= 4:
			return "ip saddr"
		case offset == 16 && size <= 4:
			return "ip daddr"
		case offset == 9 && size == 1:
			return "ip protocol"
		case offset == 8 && size > 2 && size <= 16:
			return "ip6 saddr"
		case offset == 24 && size <= 16:
			return "ip6 daddr"
		case offset == 6 && size == 1:
			return "ip6 nexthdr"
		}
	case unix.NFT_PAYLOAD_TRANSPORT_HEADER:
		icmp := map[byte]string{unix.IPPROTO_ICMP: "icmp", unix.IPPROTO_ICMPV6: "icmpv6"}[r.proto]
		switch {
		case icmp != "" && offset == 0 && size == 1:
			return icmp + " type"
		case icmp != "" && offset == 1 && size == 1:
			return icmp + " code"
		case icmp != "" && offset == 0 && size == 2:
			return icmp + " type . code"
		case offset == sourcePortAt && size == portLen && r.proto != 0:
			return protocolName(r.proto) + " sport"
		case offset == destinationPortAt && size == portLen && r.proto != 0:
			return protocolName(r.proto) + " dport"
		}
	}
	return ""
}
