package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// attrs is a list of netlink attributes being written.
type attrs []byte

func (a *attrs) put(typ uint16, data []byte) {
	at := a.open(typ)
	*a = append(*a, data...)
	a.close(at)
}

func (a *attrs) text(typ uint16, s string) {
	at := a.open(typ)
	*a = append(append(*a, s...), 0)
	a.close(at)
}

// number puts 32 bits in network order, as all of nf_tables has them.
func (a *attrs) number(typ uint16, n uint32) {
	at := a.open(typ)
	*a = binary.BigEndian.AppendUint32(*a, n)
	a.close(at)
}

func (a *attrs) number64(typ uint16, n uint64) {
	at := a.open(typ)
	*a = binary.BigEndian.AppendUint64(*a, n)
	a.close(at)
}

func (a *attrs) nest(typ uint16, inner attrs) { a.put(typ|unix.NLA_F_NESTED, inner) }

// open begins an attribute: what is appended until close is its value.
func (a *attrs) open(typ uint16) (at int) {
	at = len(*a)
	*a = binary.NativeEndian.AppendUint16(*a, 0)
	*a = binary.NativeEndian.AppendUint16(*a, typ)
	return at
}

// close ends the attribute that open returned this place of.
func (a *attrs) close(at int) {
	binary.NativeEndian.PutUint16((*a)[at:], uint16(len(*a)-at))
	for len(*a)%unix.NLA_ALIGNTO != 0 {
		*a = append(*a, 0)
	}
}

var errTruncated = errors.New("truncated netlink attribute")

// each calls f with the attributes in b, without their flags.
func each(b []byte, f func(typ uint16, data []byte) error) error {
	for len(b) >= unix.NLA_HDRLEN {
		n := int(binary.NativeEndian.Uint16(b))
		typ := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		if n < unix.NLA_HDRLEN || n > len(b) {
			return fmt.Errorf("%w: type %d says %d bytes of %d", errTruncated, typ, n, len(b))
		}
		if err := f(typ, b[unix.NLA_HDRLEN:n]); err != nil {
			return err
		}
		b = b[min(len(b), (n+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
	}
	if len(b) != 0 {
		return fmt.Errorf("%w: %d bytes left over", errTruncated, len(b))
	}
	return nil
}

// fields collects the attributes in b by type; of a repeated one the last.
func fields(b []byte) (map[uint16][]byte, error) {
	out := map[uint16][]byte{}
	err := each(b, func(typ uint16, data []byte) error {
		out[typ] = data
		return nil
	})
	return out, err
}

// number is the value of a 32-bit attribute, or 0 where it is missing or short.
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

// text is the value of a text attribute, without its closing NUL.
func text(b []byte) string { return string(unended(b)) }

func unended(b []byte) []byte {
	b, _, _ = bytes.Cut(b, zeros[:1])
	return b
}

// nftaSetExpr is NFTA_SET_EXPR of uapi/linux/netfilter/nf_tables.h, which
// golang.org/x/sys lacks.
const nftaSetExpr = 17
