package pna

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// The limits of a first message. Requests of players have less than 600 bytes.
const (
	MaxLength = 4 << 10 // bytes of all options
	MaxPorts  = 4
)

// The errors of Parse.
var (
	ErrNotPNA    = errors.New("not PNA")
	ErrMalformed = errors.New("malformed PNA message")
)

// ID is the meaning of a port.
type ID uint16

// The IDs of options with a port.
const (
	Stream     ID = 1 // the stream
	Correction ID = 7 // data for error correction
)

// Port is a UDP port of the client.
type Port struct {
	ID     ID
	Number uint16 // never 0
	at     int    // the offset in the message
}

// Hello is the first message, or its beginning.
type Hello struct {
	Version uint16
	Ports   []Port
	// Length is the number of bytes that are complete and can be passed on.
	Length int
	// Done says that all options have been read.
	Done bool
}

const (
	magic      = "PNA"
	maxVersion = 255 // ip_masq_raudio.c knows no others
	headerSize = len(magic) + 2
	endID      = 0
)

// Parse reads the first message from the bytes of a connection so far. If more are needed,
// Done is false. A port of 0 means that the client has none, and is left out.
func Parse(b []byte) (Hello, error) {
	var h Hello
	if n := min(len(b), len(magic)); !bytes.Equal(b[:n], []byte(magic)[:n]) {
		return h, fmt.Errorf("%w: it begins with %q", ErrNotPNA, b[:n])
	}
	if len(b) < headerSize {
		return h, nil
	}
	h.Version, h.Length = binary.BigEndian.Uint16(b[len(magic):]), headerSize
	if h.Version > maxVersion {
		return h, fmt.Errorf("%w: version %d", ErrMalformed, h.Version)
	}
	for {
		rest := b[h.Length:]
		if len(rest) < 2 {
			return h, nil
		}
		id := ID(binary.BigEndian.Uint16(rest))
		if id == endID {
			h.Length += 2
			h.Done = true
			return h, nil
		}
		if len(rest) < 4 {
			return h, nil
		}
		size := int(binary.BigEndian.Uint16(rest[2:]))
		if h.Length+4+size > MaxLength {
			return h, fmt.Errorf("%w: the options have more than %d bytes", ErrMalformed, MaxLength)
		}
		isPort := id == Stream || id == Correction
		if isPort && size != 2 {
			return h, fmt.Errorf("%w: a port of %d bytes", ErrMalformed, size)
		}
		if len(rest) < 4+size {
			return h, nil
		}
		if isPort {
			p := Port{id, binary.BigEndian.Uint16(rest[4:]), h.Length + 4}
			if p.Number != 0 {
				if len(h.Ports) == MaxPorts {
					return h, fmt.Errorf("%w: more than %d ports", ErrMalformed, MaxPorts)
				}
				h.Ports = append(h.Ports, p)
			}
		}
		h.Length += 4 + size
	}
}

// Replace replaces a port in b, the bytes that were parsed.
func (h Hello) Replace(b []byte, p Port, number uint16) {
	binary.BigEndian.PutUint16(b[p.at:], number)
}
