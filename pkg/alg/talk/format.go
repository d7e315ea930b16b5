package talk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// ErrMalformed is the error for a datagram that does not have its format.
var ErrMalformed = errors.New("malformed talk message")

// Format is one of the two protocols.
type Format uint8

// The formats.
const (
	NTalk Format = iota // 4.3BSD and later
	Talk                // 4.2BSD
)

// Port returns the UDP port of the daemon.
func (f Format) Port() uint16 { return uint16(518 - int(f)) }

// String returns the name of the service.
func (f Format) String() string { return [...]string{"ntalk", "talk"}[f] }

// FormatOf returns the format of requests with a length in bytes. The daemon of Linux
// accepts both at port 518.
func FormatOf(length int) (Format, bool) {
	for f, l := range layouts {
		if l.request.size == length {
			return Format(f), true
		}
	}
	return 0, false
}

// Type is the type of a request. A response repeats it.
type Type uint8

// The types of requests.
const (
	LeaveInvite Type = iota // keep an invitation, for the host's own users
	LookUp                  // is there an invitation?
	Delete                  // delete an invitation
	Announce                // ring a user
)

// Answer is the result in a response.
type Answer uint8

// The answers that a proxy needs to know. There are more in <protocols/talkd.h>.
const (
	Success Answer = 0
	NotHere Answer = 1 // the user is not logged in, or there is no invitation
)

// layout has the offsets of the fields of a datagram, in bytes.
type layout struct {
	size, typ, answer, id, addr, control, pid, caller, callee, tty int
	nameSize                                                       int
}

const (
	ttySize  = 16
	addrSize = 16 // struct osockaddr
)

// layouts has the structures CTL_MSG and CTL_RESPONSE of <protocols/talkd.h> and of ctl.h
// of 4.2BSD. The offset of a missing field is -1.
var layouts = [...]struct {
	hasVersion        bool
	request, response layout
}{
	NTalk: {
		true,
		layout{size: 84, typ: 1, answer: 2, id: 4, addr: 8, control: 24, pid: 40, caller: 44, callee: 56, tty: 68, nameSize: 12},
		layout{size: 24, typ: 1, answer: 2, id: 4, addr: 8, control: -1},
	},
	Talk: {
		false,
		layout{size: 76, typ: 0, answer: -1, caller: 1, callee: 10, id: 20, pid: 24, tty: 28, addr: 44, control: 60, nameSize: 9},
		layout{size: 24, typ: 0, answer: 1, id: 4, addr: 8, control: -1},
	},
}

// version is the version of ntalk.
const version = 1

// check returns an error unless b has the length and the version of a format.
func (f Format) check(b []byte, l layout) error {
	switch {
	case len(b) != l.size:
		return fmt.Errorf("%w: %d bytes for %s, want %d", ErrMalformed, len(b), f, l.size)
	case layouts[f].hasVersion && b[0] != version:
		return fmt.Errorf("%w: version %d of %s, want %d", ErrMalformed, b[0], f, version)
	}
	return nil
}

const afInet = 2 // AF_INET

// order returns the byte order of the family at an offset. ok is false if the family is not
// AF_INET.
func order(b []byte, at int) (o binary.ByteOrder, ok bool) {
	switch {
	case binary.BigEndian.Uint16(b[at:]) == afInet:
		return binary.BigEndian, true
	case binary.LittleEndian.Uint16(b[at:]) == afInet:
		return binary.LittleEndian, true
	}
	return binary.BigEndian, false
}

// address returns the address at an offset, or the zero value if its family is not AF_INET.
func address(b []byte, at int) netip.AddrPort {
	if _, ok := order(b, at); !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[at+4:at+8])), binary.BigEndian.Uint16(b[at+2:]))
}

// putAddress writes an address at an offset, with its family in byte order o.
func putAddress(b []byte, at int, o binary.ByteOrder, a netip.AddrPort) error {
	x := a.Addr().Unmap()
	if !x.Is4() {
		return fmt.Errorf("%w: %s is not an IPv4 address", ErrMalformed, a)
	}
	o.PutUint16(b[at:], afInet)
	binary.BigEndian.PutUint16(b[at+2:], a.Port())
	ip := x.As4()
	copy(b[at+4:], ip[:])
	return nil
}
