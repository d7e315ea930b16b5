package talk

import (
	"encoding/binary"
	"net/netip"
)

// Response is the response of a daemon: CTL_RESPONSE.
type Response struct {
	Format Format
	Type   Type // the type of the request
	Answer Answer
	ID     uint32
	// Addr is the TCP address of the caller in the successful response to LookUp. In other
	// responses it has no meaning.
	Addr netip.AddrPort

	littleEndian bool // of Talk
}

// ParseResponse reads a response.
func ParseResponse(f Format, b []byte) (Response, error) {
	l := layouts[f].response
	if err := f.check(b, l); err != nil {
		return Response{}, err
	}
	o, _ := order(b, l.addr)
	if f == NTalk {
		o = binary.BigEndian
	}
	return Response{
		Format: f, Type: Type(b[l.typ]), Answer: Answer(b[l.answer]), ID: o.Uint32(b[l.id:]), Addr: address(b, l.addr),
		littleEndian: o == binary.ByteOrder(binary.LittleEndian),
	}, nil
}

// HasAddr reports whether Addr is the address of a caller.
func (r Response) HasAddr() bool {
	return r.Type == LookUp && r.Answer == Success && r.Addr.IsValid() && r.Addr.Port() != 0
}

// AppendBinary appends the datagram. It returns ErrMalformed for an address that is not an
// IPv4 address. A zero Addr is written as zeros.
func (r Response) AppendBinary(b []byte) ([]byte, error) {
	l := layouts[r.Format].response
	var o binary.ByteOrder = binary.BigEndian
	if r.littleEndian {
		o = binary.LittleEndian
	}
	out := make([]byte, l.size)
	if layouts[r.Format].hasVersion {
		out[0] = version
	}
	out[l.typ], out[l.answer] = byte(r.Type), byte(r.Answer)
	o.PutUint32(out[l.id:], r.ID)
	if r.Addr.IsValid() {
		if err := putAddress(out, l.addr, o, r.Addr); err != nil {
			return b, err
		}
	}
	return append(b, out...), nil
}

// RewriteResponse replaces Addr in a response, in place. No other byte changes.
func RewriteResponse(f Format, response []byte, addr netip.AddrPort) error {
	l := layouts[f].response
	if err := f.check(response, l); err != nil {
		return err
	}
	o, _ := order(response, l.addr)
	return putAddress(response, l.addr, o, addr)
}
