package nft

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// expression is one expression of a rule: its name in the kernel, and its
// attributes.
type expression struct {
	name string
	data netlink.Encoder
}

// The names of the expressions that the ruleset uses.
func nameOf(e expr.Any) string {
	switch e.(type) {
	case *expr.Bitwise:
		return "bitwise"
	case *expr.Byteorder:
		return "byteorder"
	case *expr.Cmp:
		return "cmp"
	case *expr.Counter:
		return "counter"
	case *expr.Ct:
		return "ct"
	case *expr.Exthdr:
		return "exthdr"
	case *expr.Fib:
		return "fib"
	case *expr.Immediate, *expr.Verdict:
		return "immediate"
	case *expr.Lookup:
		return "lookup"
	case *expr.Meta:
		return "meta"
	case *expr.Numgen:
		return "numgen"
	case *expr.Objref:
		return "objref"
	case *expr.Payload:
		return "payload"
	case *expr.Rt:
		return "rt"
	case *expr.Socket:
		return "socket"
	}
	return ""
}

func encode(e expr.Any) (expression, error) {
	name := nameOf(e)
	if name == "" {
		return expression{}, fmt.Errorf("expression %T is not one that the ruleset uses", e)
	}
	data, err := expr.MarshalExprData(unix.NFPROTO_INET, e)
	return expression{name, data}, err
}

// natOptions are those of a translation. The expressions are encoded here because
// the library leaves the flags out where a masquerade has ports.
type natOptions struct {
	ipv6        bool
	ports       uint32 // the register of the first port; the next has the last
	fullyRandom bool
}

func (o natOptions) flags() uint32 {
	var f uint32
	if o.ports != 0 {
		f |= unix.NF_NAT_RANGE_PROTO_SPECIFIED
	}
	if o.fullyRandom {
		f |= unix.NF_NAT_RANGE_PROTO_RANDOM_FULLY
	}
	return f
}

func (o natOptions) masquerade() expression {
	var a netlink.Encoder
	if o.ports != 0 {
		a.Uint32(unix.NFTA_MASQ_REG_PROTO_MIN, o.ports)
		a.Uint32(unix.NFTA_MASQ_REG_PROTO_MAX, o.ports+1)
	}
	if f := o.flags(); f != 0 {
		a.Uint32(unix.NFTA_MASQ_FLAGS, f)
	}
	return expression{"masq", a}
}

func (o natOptions) snat() expression {
	var a netlink.Encoder
	a.Uint32(unix.NFTA_NAT_TYPE, unix.NFT_NAT_SNAT)
	family := uint32(unix.NFPROTO_IPV4)
	if o.ipv6 {
		family = unix.NFPROTO_IPV6
	}
	a.Uint32(unix.NFTA_NAT_FAMILY, family)
	a.Uint32(unix.NFTA_NAT_REG_ADDR_MIN, 1)
	a.Uint32(unix.NFTA_NAT_REG_ADDR_MAX, 1)
	if o.ports != 0 {
		a.Uint32(unix.NFTA_NAT_REG_PROTO_MIN, o.ports)
		a.Uint32(unix.NFTA_NAT_REG_PROTO_MAX, o.ports+1)
	}
	// The kernel sets this one by itself, and shows it.
	a.Uint32(unix.NFTA_NAT_FLAGS, o.flags()|unix.NF_NAT_RANGE_MAP_IPS)
	return expression{"nat", a}
}

// list encodes expressions as the value of NFTA_RULE_EXPRESSIONS.
func list(all []expression) netlink.Encoder {
	var out netlink.Encoder
	for _, e := range all {
		var x netlink.Encoder
		x.Text(unix.NFTA_EXPR_NAME, e.name)
		x.Nest(unix.NFTA_EXPR_DATA, e.data)
		out.Nest(unix.NFTA_LIST_ELEM, x)
	}
	return out
}

// parseList is the inverse of list.
func parseList(b []byte) ([]expression, error) {
	var out []expression
	err := each(b, func(typ uint16, data []byte) error {
		if typ != unix.NFTA_LIST_ELEM {
			return fmt.Errorf("attribute %d among expressions", typ)
		}
		f, err := fields(data)
		if err != nil {
			return err
		}
		out = append(out, expression{netlink.Text(f[unix.NFTA_EXPR_NAME]), f[unix.NFTA_EXPR_DATA]})
		return nil
	})
	return out, err
}

// nested names the attributes that hold attributes, of the expressions that the
// ruleset uses.
var nested = map[string]map[uint16]bool{
	"bitwise":   {unix.NFTA_BITWISE_MASK: true, unix.NFTA_BITWISE_XOR: true},
	"cmp":       {unix.NFTA_CMP_DATA: true},
	"immediate": {unix.NFTA_IMMEDIATE_DATA: true},
}

// fingerprint is the same for two lists of expressions if and only if they do the
// same: attributes in order of type, without those that count, that mean
// something only while a rule is sent, or that are zero, which is what a missing
// one is.
func fingerprint(all []expression) string {
	var b strings.Builder
	for _, e := range all {
		b.WriteString(e.name)
		if e.name != "counter" {
			canonical(&b, e.data, nested[e.name], e.name)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func canonical(b *strings.Builder, data []byte, deeper map[uint16]bool, name string) {
	type attr struct {
		typ  uint16
		data []byte
	}
	var all []attr
	if err := each(data, func(typ uint16, data []byte) error {
		all = append(all, attr{typ, data})
		return nil
	}); err != nil {
		fmt.Fprintf(b, " malformed %s", hex.EncodeToString(data))
		return
	}
	slices.SortStableFunc(all, func(x, y attr) int { return int(x.typ) - int(y.typ) })
	for _, a := range all {
		switch {
		case name == "lookup" && a.typ == unix.NFTA_LOOKUP_SET_ID:
		case name == "lookup" && a.typ == unix.NFTA_LOOKUP_DREG:
			fmt.Fprint(b, " dreg ", number(a.data)) // present and zero is a verdict map
		case name == "immediate" && a.typ == unix.NFTA_IMMEDIATE_DATA:
			canonicalData(b, a.data)
		case deeper[a.typ]:
			fmt.Fprintf(b, " %d{", a.typ)
			canonical(b, a.data, nil, "")
			b.WriteByte('}')
		case len(bytes.Trim(a.data, "\x00")) == 0 && name != "":
		default:
			// The kernel ends texts with a NUL, the library not all of them.
			fmt.Fprintf(b, " %d=%s", a.typ, hex.EncodeToString(trimText(name, a.typ, a.data)))
		}
	}
}

func trimText(name string, typ uint16, data []byte) []byte {
	if name == "objref" && typ == unix.NFTA_OBJREF_IMM_NAME || name == "lookup" && typ == unix.NFTA_LOOKUP_SET {
		return bytes.TrimRight(data, "\x00")
	}
	return data
}

// canonicalData writes the value of an immediate: bytes, or a verdict.
func canonicalData(b *strings.Builder, data []byte) {
	f, err := fields(data)
	if err != nil {
		b.WriteString(" malformed")
		return
	}
	if v, ok := f[unix.NFTA_DATA_VALUE]; ok {
		fmt.Fprintf(b, " value=%s", hex.EncodeToString(v))
	}
	if v, ok := f[unix.NFTA_DATA_VERDICT]; ok {
		code, chain := parseVerdict(v)
		fmt.Fprintf(b, " verdict=%d %s", code, chain)
	}
}

func parseVerdict(b []byte) (code int32, chain string) {
	f, err := fields(b)
	if err != nil {
		return 0, "malformed"
	}
	if c := f[unix.NFTA_VERDICT_CODE]; len(c) == 4 {
		code = int32(binary.BigEndian.Uint32(c))
	}
	return code, netlink.Text(f[unix.NFTA_VERDICT_CHAIN])
}

// counterOf is the index of the counter among the expressions of a rule, or -1.
func counterOf(all []expression) int {
	return slices.IndexFunc(all, func(e expression) bool { return e.name == "counter" })
}
