package netlink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Encoder is a list of netlink attributes that is being written. The zero value is an
// empty list; e[:0] starts a new list in the same memory.
type Encoder []byte

// Bytes appends an attribute.
func (e *Encoder) Bytes(typ uint16, data []byte) {
	at := e.Begin(typ)
	*e = append(*e, data...)
	e.End(at)
}

// Text appends a text attribute with its closing NUL.
func (e *Encoder) Text(typ uint16, s string) {
	at := e.Begin(typ)
	*e = append(append(*e, s...), 0)
	e.End(at)
}

// Uint8 appends an attribute of one byte.
func (e *Encoder) Uint8(typ uint16, v uint8) { e.Bytes(typ, []byte{v}) }

// Uint16 appends an attribute in network byte order, which netfilter uses for all numbers.
func (e *Encoder) Uint16(typ, v uint16) {
	e.Bytes(typ, binary.BigEndian.AppendUint16(make([]byte, 0, 2), v))
}

// Uint32 appends an attribute in network byte order.
func (e *Encoder) Uint32(typ uint16, v uint32) {
	e.Bytes(typ, binary.BigEndian.AppendUint32(make([]byte, 0, 4), v))
}

// Uint64 appends an attribute in network byte order.
func (e *Encoder) Uint64(typ uint16, v uint64) {
	e.Bytes(typ, binary.BigEndian.AppendUint64(make([]byte, 0, 8), v))
}

// NativeUint32 appends an attribute in the machine's byte order, which rtnetlink uses for
// all numbers.
func (e *Encoder) NativeUint32(typ uint16, v uint32) {
	e.Bytes(typ, binary.NativeEndian.AppendUint32(make([]byte, 0, 4), v))
}

// Nest appends an attribute whose value is a list of attributes.
func (e *Encoder) Nest(typ uint16, inner Encoder) { e.Bytes(typ|unix.NLA_F_NESTED, inner) }

// BeginNest opens an attribute whose value is the list of attributes that is appended
// until End.
func (e *Encoder) BeginNest(typ uint16) (at int) { return e.Begin(typ | unix.NLA_F_NESTED) }

// Begin opens an attribute whose value is the bytes that are appended until End.
func (e *Encoder) Begin(typ uint16) (at int) {
	at = len(*e)
	*e = binary.NativeEndian.AppendUint16(*e, 0)
	*e = binary.NativeEndian.AppendUint16(*e, typ)
	return at
}

// End closes the attribute that Begin opened at this offset.
func (e *Encoder) End(at int) {
	binary.NativeEndian.PutUint16((*e)[at:], uint16(len(*e)-at))
	*e = pad(*e, at)
}

// pad appends zeros until the length from offset at is a multiple of 4 bytes.
func pad(b []byte, at int) []byte {
	for (len(b)-at)%unix.NLMSG_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}
