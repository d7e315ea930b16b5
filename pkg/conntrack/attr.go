package conntrack

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// attrs reads a list of netlink attributes in place.
type attrs struct {
	rest []byte // not yet read
	data []byte // of the attribute that next found
	typ  uint16 // of the same, without its flags
}

const attrFlags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER

func (a *attrs) next() bool {
	if len(a.rest) < unix.NLA_HDRLEN {
		return false
	}
	n := int(binary.NativeEndian.Uint16(a.rest))
	if n < unix.NLA_HDRLEN || n > len(a.rest) {
		return false
	}
	a.typ = binary.NativeEndian.Uint16(a.rest[2:]) &^ attrFlags
	a.data = a.rest[unix.NLA_HDRLEN:n]
	a.rest = a.rest[min(len(a.rest), align(n)):]
	return true
}

// whole reports whether the list ended where its last attribute did.
func (a *attrs) whole() bool { return len(a.rest) == 0 }

// All attributes and messages of netlink begin at multiples of four bytes.
func align(n int) int { return (n + 3) &^ 3 }

// The values of attributes are in network order. Each of these says whether the
// attribute had the length of its type.

func read8(b []byte, v *uint8) bool {
	if len(b) != 1 {
		return false
	}
	*v = b[0]
	return true
}

func read16(b []byte, v *uint16) bool {
	if len(b) != 2 {
		return false
	}
	*v = binary.BigEndian.Uint16(b)
	return true
}

func read32(b []byte, v *uint32) bool {
	if len(b) != 4 {
		return false
	}
	*v = binary.BigEndian.Uint32(b)
	return true
}

func read64(b []byte, v *uint64) bool {
	if len(b) != 8 {
		return false
	}
	*v = binary.BigEndian.Uint64(b)
	return true
}

// The writers append to a message.

func head(b []byte, typ uint16, n int) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.NLA_HDRLEN+n))
	return binary.NativeEndian.AppendUint16(b, typ)
}

func put(b []byte, typ uint16, data ...byte) []byte {
	b = append(head(b, typ, len(data)), data...)
	return append(b, make([]byte, align(len(data))-len(data))...)
}

func put16(b []byte, typ, v uint16) []byte {
	return append(binary.BigEndian.AppendUint16(head(b, typ, 2), v), 0, 0)
}

func put32(b []byte, typ uint16, v uint32) []byte {
	return binary.BigEndian.AppendUint32(head(b, typ, 4), v)
}

func put64(b []byte, typ uint16, v uint64) []byte {
	return binary.BigEndian.AppendUint64(head(b, typ, 8), v)
}

// begin opens a nest, whose place end wants to know.
func begin(b []byte, typ uint16) (nest []byte, at int) {
	return head(b, typ|unix.NLA_F_NESTED, 0), len(b)
}

func end(b []byte, at int) []byte {
	binary.NativeEndian.PutUint16(b[at:], uint16(len(b)-at))
	return b
}
