package netlink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Message is one received netlink message.
type Message struct {
	Type, Flags uint16
	Seq         uint32
	Port        uint32 // port ID of the socket that caused the message; 0 for the kernel
	// Body is the message without its netlink header. It is valid until the next message.
	Body []byte
}

// cut reads the first message of b and returns the rest of b.
func (m *Message) cut(b []byte) (rest []byte, err error) {
	if len(b) < unix.NLMSG_HDRLEN {
		return nil, Malformed("%d bytes left over", len(b))
	}
	n := binary.NativeEndian.Uint32(b)
	if n < unix.NLMSG_HDRLEN || uint64(n) > uint64(len(b)) {
		return nil, Malformed("%d bytes of %d", len(b), n)
	}
	m.Type = binary.NativeEndian.Uint16(b[4:])
	m.Flags = binary.NativeEndian.Uint16(b[6:])
	m.Seq = binary.NativeEndian.Uint32(b[8:])
	m.Port = binary.NativeEndian.Uint32(b[12:])
	m.Body = b[unix.NLMSG_HDRLEN:n]
	return b[min(len(b), align(int(n))):], nil
}

// align rounds up to a multiple of 4, the offset of the next message or attribute.
func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// After returns b without its first n bytes, a fixed header, or nil if b is shorter.
func After(b []byte, n int) []byte {
	if n < 0 || n > len(b) {
		return nil
	}
	return b[n:]
}
