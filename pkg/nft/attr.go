package nft

import (
	"bytes"
	"encoding/binary"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// each calls f with the type, without flags, and the value of each attribute in b.
func each(b []byte, f func(typ uint16, data []byte) error) error {
	a := netlink.Attributes{Rest: b}
	for a.Next() {
		if err := f(a.Type, a.Data); err != nil {
			return err
		}
	}
	return a.Err()
}

// fields returns the attributes in b by type. For a repeated attribute it returns
// the last.
func fields(b []byte) (map[uint16][]byte, error) {
	out := map[uint16][]byte{}
	err := each(b, func(typ uint16, data []byte) error {
		out[typ] = data
		return nil
	})
	return out, err
}

// inside returns the value of the last attribute of a type in b, or nil without one.
func inside(b []byte, typ uint16) (value []byte, err error) {
	err = each(b, func(t uint16, data []byte) error {
		if t == typ {
			value = data
		}
		return nil
	})
	return value, err
}

// number returns the value of a 32-bit attribute, or 0 if it is missing or short.
func number(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func number64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// unended returns the value of a text attribute without its closing NUL.
func unended(b []byte) []byte {
	b, _, _ = bytes.Cut(b, zeros[:1])
	return b
}

// nftaSetExpr is NFTA_SET_EXPR of uapi/linux/netfilter/nf_tables.h, which golang.org/x/sys
// lacks.
const nftaSetExpr = 17
