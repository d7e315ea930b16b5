package rtsp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
)

// ErrForeignAddress is the error for a message that names a third host: a client that sends
// the stream elsewhere, or a server that sends it from elsewhere. Ports are opened only
// between the two ends of the control connection.
var ErrForeignAddress = errors.New("Transport names another host")

// Addresses are the addresses of a control connection.
type Addresses struct {
	Client netip.Addr // the client's own
	Egress netip.Addr // the client's, as the server sees it
	Server netip.Addr
}

// Mapping is a pair of the client's ports and the ports of the egress address that stand
// for them. Both have a second port, or none.
type Mapping struct {
	Client Ports
	Egress Ports
}

// Media are the ports of one UDP stream, after the server has accepted it.
type Media struct {
	Mapping
	// Server is zero if the server does not name its ports.
	Server Ports
}

// RewriteSetup appends to b the SETUP request m with the egress address and its ports in
// place of the client's. It calls allocate once for each different pair of ports that the
// client offers; allocate returns as many ports. Offers without UDP do not change.
//
// Errors: ErrSyntax, ErrPorts, ErrForeignAddress, or the error of allocate. After an error
// too, the returned mappings list everything that allocate has returned, so that the caller
// can free it.
func RewriteSetup(b []byte, m *Message, a Addresses, allocate func(Ports) (Ports, error)) ([]byte, []Mapping, error) {
	offers, err := m.Transports()
	if err != nil {
		return b, nil, err
	}
	var mappings []Mapping
	mapped := func(own Ports) (Ports, error) {
		if i := slices.IndexFunc(mappings, func(x Mapping) bool { return x.Client == own }); i >= 0 {
			return mappings[i].Egress, nil
		}
		out, err := allocate(own)
		if err != nil {
			return Ports{}, err
		}
		mappings = append(mappings, Mapping{own, out})
		return out, nil
	}
	for _, t := range offers {
		if err := t.rewriteOffer(a, mapped); err != nil {
			return b, mappings, err
		}
	}
	return m.appendWith(b, offers), mappings, nil
}

// rewriteOffer changes the values of the parameters of t.
func (t Transport) rewriteOffer(a Addresses, mapped func(Ports) (Ports, error)) error {
	if err := t.replaceHost("destination", a.Client, a.Egress); err != nil {
		return err
	}
	if !t.IsUDP() {
		return nil
	}
	own, err := t.ports("client_port")
	if err != nil {
		return err
	}
	if !own.IsZero() {
		out, err := mapped(own)
		if err != nil {
			return err
		}
		t.set("client_port", out.String())
	}
	at, ok, err := t.endpoints("dest_addr")
	if err != nil || !ok {
		return err
	}
	if at.host, err = replacedHost(at.host, a.Client, a.Egress); err != nil {
		return err
	}
	if at.ports, err = mapped(at.ports); err != nil {
		return err
	}
	t.set("dest_addr", at.String())
	return nil
}

// RewriteSetupAnswer appends to b the response m to a SETUP request, with the client's
// address and ports in place of the egress address and its ports. mappings is the result of
// RewriteSetup. udp is false if the stream does not use UDP or the status is not 200: then
// the response does not change.
//
// Errors: ErrSyntax; ErrPorts if the server names client ports that were not requested;
// ErrForeignAddress.
func RewriteSetupAnswer(b []byte, m *Message, a Addresses, mappings []Mapping) (out []byte, media Media, udp bool, err error) {
	all, err := m.Transports()
	if err != nil {
		return b, Media{}, false, err
	}
	if m.Status != statusOK || len(mappings) == 0 || len(all) == 0 || len(all) == 1 && !all[0].IsUDP() {
		return append(b, m.header...), Media{}, false, nil
	}
	if len(all) > 1 {
		return b, Media{}, false, fmt.Errorf("%w: the answer has %d transports", ErrSyntax, len(all))
	}
	t := all[0]
	media, err = t.rewriteAnswer(a, mappings)
	if err != nil {
		return b, Media{}, false, err
	}
	return m.appendWith(b, all), media, true, nil
}

const statusOK = 200

// rewriteAnswer changes the values of the parameters of t.
func (t Transport) rewriteAnswer(a Addresses, mappings []Mapping) (Media, error) {
	if err := t.replaceHost("destination", a.Egress, a.Client); err != nil {
		return Media{}, err
	}
	if err := t.replaceHost("source", a.Server, a.Server); err != nil {
		return Media{}, err
	}
	egress, err := t.ports("client_port")
	if err != nil {
		return Media{}, err
	}
	server, err := t.ports("server_port")
	if err != nil {
		return Media{}, err
	}
	to, hasTo, err := t.endpoints("dest_addr")
	if err != nil {
		return Media{}, err
	}
	from, hasFrom, err := t.endpoints("src_addr")
	if err != nil {
		return Media{}, err
	}
	if hasTo {
		if to.host, err = replacedHost(to.host, a.Egress, a.Client); err != nil {
			return Media{}, err
		}
		if !egress.IsZero() && egress != to.ports {
			return Media{}, fmt.Errorf("%w: client_port and dest_addr differ", ErrPorts)
		}
		egress = to.ports
	}
	if hasFrom {
		if _, err = replacedHost(from.host, a.Server, a.Server); err != nil {
			return Media{}, err
		}
		if !server.IsZero() && server != from.ports {
			return Media{}, fmt.Errorf("%w: server_port and src_addr differ", ErrPorts)
		}
		server = from.ports
	}
	i := 0
	switch {
	case !egress.IsZero():
		i = slices.IndexFunc(mappings, func(x Mapping) bool { return x.Egress == egress })
		if i < 0 {
			return Media{}, fmt.Errorf("%w: the server answers with %s, which was not requested", ErrPorts, egress)
		}
	case len(mappings) > 1:
		return Media{}, fmt.Errorf("%w: the server does not say which of %d ports it uses", ErrPorts, len(mappings))
	}
	own := mappings[i].Client
	if t.index("client_port") >= 0 {
		t.set("client_port", own.String())
	}
	if hasTo {
		to.ports = own
		t.set("dest_addr", to.String())
	}
	return Media{mappings[i], server}, nil
}

// replaceHost replaces the address of a parameter, if the parameter has a value.
func (t Transport) replaceHost(name string, from, to netip.Addr) error {
	p, ok := t.get(name)
	if !ok || p.Value == "" {
		return nil
	}
	host, err := replacedHost(unquoted(p.Value), from, to)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	t.set(name, host)
	return nil
}

func unquoted(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

// replacedHost returns to for from, and for to itself: a client may know its egress address.
// An empty host and an unspecified address stand for the end of the control connection. It
// returns an error for any other host, and for a name, whose address is not known.
func replacedHost(host string, from, to netip.Addr) (string, error) {
	if host == "" {
		return "", nil
	}
	a, err := netip.ParseAddr(host)
	switch {
	case err == nil && a.IsUnspecified():
		return host, nil
	case err == nil && (a.Unmap() == from.Unmap() || a.Unmap() == to.Unmap()):
		return to.String(), nil
	}
	return "", fmt.Errorf("%w: %s", ErrForeignAddress, quote([]byte(host)))
}

// appendWith appends the header with other transports, as one field at the place of the
// first.
func (m *Message) appendWith(b []byte, all []Transport) []byte {
	at, first := 0, true
	for _, f := range m.fields {
		if !m.named(f, transportField) {
			continue
		}
		b = append(b, m.header[at:f.start]...)
		at = f.end
		if !first {
			continue
		}
		first = false
		b = append(b, m.header[f.start:f.colon+1]...)
		for i, t := range all {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, ' ')
			b = append(b, t.String()...)
		}
		b = append(b, "\r\n"...)
	}
	return append(b, m.header[at:]...)
}

// AppendRefusal appends to b a response for the client with the status 461 (Unsupported
// Transport, RFC 2326, section 11.3.14). m is the refused request, or the server's response to
// it. The response has the CSeq of m, if it is valid.
func AppendRefusal(b []byte, m *Message) []byte {
	b = append(b, m.version...)
	b = append(b, " 461 Unsupported Transport"...)
	if cseq, err := m.CSeq(); err == nil {
		b = append(b, "\r\nCSeq: "...)
		b = strconv.AppendUint(b, uint64(cseq), 10)
	}
	return append(b, "\r\n\r\n"...)
}
