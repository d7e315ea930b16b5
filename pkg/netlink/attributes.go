package netlink

import (
	"bytes"
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

// Attributes reads a list of netlink attributes in place:
//
//	a := netlink.Attributes{Rest: m.Body}
//	for a.Next() {
//		switch a.Type {
//		...
//		}
//	}
//	return a.Err()
type Attributes struct {
	Rest []byte // not yet read
	Data []byte // value of the attribute that Next read
	Type uint16 // type of that attribute, without flags
}

const attributeFlags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER

// Next reads the next attribute. It returns false at the end of the list, or if an
// attribute has an impossible length; Err tells which.
func (a *Attributes) Next() bool {
	if len(a.Rest) < unix.NLA_HDRLEN {
		return false
	}
	n := int(binary.NativeEndian.Uint16(a.Rest))
	if n < unix.NLA_HDRLEN || n > len(a.Rest) {
		return false
	}
	a.Type = binary.NativeEndian.Uint16(a.Rest[2:]) &^ attributeFlags
	a.Data = a.Rest[unix.NLA_HDRLEN:n]
	a.Rest = a.Rest[min(len(a.Rest), align(n)):]
	return true
}

// Complete reports whether the list ended with its last attribute.
func (a *Attributes) Complete() bool { return len(a.Rest) == 0 }

// Err returns ErrMalformed if bytes are left after the last attribute.
func (a *Attributes) Err() error {
	if a.Complete() {
		return nil
	}
	return Malformed("%d bytes left over", len(a.Rest))
}

// Malformed returns the error for an attribute whose length does not fit its type.
func (a *Attributes) Malformed() error {
	return Malformed("attribute %d of %d bytes", a.Type, len(a.Data))
}

// All yields the type, without flags, and the value of each attribute of a list. It ends
// at the first malformed attribute without an error.
func All(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		a := Attributes{Rest: b}
		for a.Next() {
			if !yield(a.Type, a.Data) {
				return
			}
		}
	}
}

// Text returns the value of a text attribute, without its closing NUL.
func Text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}
