package nft

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// nested has the attributes that contain attributes, of the expressions that the ruleset
// uses.
var nested = map[string]map[uint16]bool{
	"bitwise":   {unix.NFTA_BITWISE_MASK: true, unix.NFTA_BITWISE_XOR: true},
	"cmp":       {unix.NFTA_CMP_DATA: true},
	"immediate": {unix.NFTA_IMMEDIATE_DATA: true},
}

// fingerprint returns the same text for two lists of expressions if and only if they have
// the same effect. It sorts attributes by type. It leaves out counters, attributes that
// have a meaning only while a rule is sent, and attributes that are zero, because a
// missing attribute is zero.
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
			// The kernel ends texts with a NUL; the library does so only for some.
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
