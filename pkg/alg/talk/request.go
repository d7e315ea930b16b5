package talk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Request is a request to a daemon: CTL_MSG.
type Request struct {
	Format Format
	Type   Type // can have an unknown value
	ID     uint32
	// Addr is the TCP address at which the caller is called. It is not set in every
	// request: then it is the zero value, or the address 0.0.0.0.
	Addr netip.AddrPort
	// Control is the UDP address to which the daemon sends its response.
	Control netip.AddrPort
	PID     uint32
	// The sender chooses the names, which can contain any byte except 0. Caller is the user
	// whose program sends the request. Callee is the other user.
	Caller, Callee string
	TTY            string // the terminal of the callee, "" for any

	littleEndian bool // of Talk
}

// ParseRequest reads a request. Control must be an IPv4 address: daemons refuse other
// requests.
func ParseRequest(f Format, b []byte) (Request, error) {
	l := layouts[f].request
	if err := f.check(b, l); err != nil {
		return Request{}, err
	}
	o, ok := order(b, l.control)
	if !ok {
		return Request{}, fmt.Errorf("%w: the control address has the family %x", ErrMalformed, b[l.control:l.control+2])
	}
	if f == NTalk {
		o = binary.BigEndian
	}
	return Request{
		Format: f, Type: Type(b[l.typ]), ID: o.Uint32(b[l.id:]), Addr: address(b, l.addr), Control: address(b, l.control),
		PID: o.Uint32(b[l.pid:]), Caller: text(b[l.caller : l.caller+l.nameSize]), Callee: text(b[l.callee : l.callee+l.nameSize]),
		TTY: text(b[l.tty : l.tty+ttySize]), littleEndian: o == binary.ByteOrder(binary.LittleEndian),
	}, nil
}

// AppendBinary appends the datagram. It returns ErrMalformed for a name that is too long and
// for an address that is not an IPv4 address. A zero Addr is written as zeros.
func (r Request) AppendBinary(b []byte) ([]byte, error) {
	l := layouts[r.Format].request
	var o binary.ByteOrder = binary.BigEndian
	if r.littleEndian {
		o = binary.LittleEndian
	}
	out := make([]byte, l.size)
	if layouts[r.Format].hasVersion {
		out[0] = version
	}
	out[l.typ] = byte(r.Type)
	o.PutUint32(out[l.id:], r.ID)
	o.PutUint32(out[l.pid:], r.PID)
	for _, x := range []struct {
		at, size int
		text     string
	}{{l.caller, l.nameSize, r.Caller}, {l.callee, l.nameSize, r.Callee}, {l.tty, ttySize, r.TTY}} {
		if len(x.text) >= x.size { // a zero byte ends it
			return b, fmt.Errorf("%w: %q has more than %d bytes", ErrMalformed, x.text, x.size-1)
		}
		copy(out[x.at:], x.text)
	}
	if r.Addr.IsValid() {
		if err := putAddress(out, l.addr, o, r.Addr); err != nil {
			return b, err
		}
	}
	if err := putAddress(out, l.control, o, r.Control); err != nil {
		return b, err
	}
	return append(b, out...), nil
}

// Rewrite replaces Addr and Control in a request, in place. It does not replace an address
// whose new value is the zero value. No other byte changes.
func Rewrite(f Format, request []byte, addr, control netip.AddrPort) error {
	l := layouts[f].request
	if _, err := ParseRequest(f, request); err != nil {
		return err
	}
	o, _ := order(request, l.control)
	for _, x := range []struct {
		at int
		to netip.AddrPort
	}{{l.addr, addr}, {l.control, control}} {
		if !x.to.IsValid() {
			continue
		}
		if err := putAddress(request, x.at, o, x.to); err != nil {
			return err
		}
	}
	return nil
}

// text returns a string that a zero byte ends. The last byte is never part of it: daemons
// set it to zero.
func text(b []byte) string {
	before, _, _ := bytes.Cut(b[:len(b)-1], []byte{0})
	return string(before)
}
