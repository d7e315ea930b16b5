package rtsp

import (
	"fmt"
	"slices"
	"strings"
)

// The limits of the Transport fields of one message. Players send one to four offers.
const (
	MaxOffers = 16
	MaxParams = 32 // for each offer
)

// Transport is one offer of a Transport header, or the answer to it:
// "RTP/AVP;unicast;client_port=5000-5001".
type Transport struct {
	Spec   string // "RTP/AVP", "RTP/AVP/TCP"
	Params []Param
}

// Param is a parameter of a Transport.
type Param struct {
	Name  string
	Value string // with quotes if the header has them
	// HasValue distinguishes "destination=" from "destination".
	HasValue bool
}

// String returns the transport as a header has it.
func (t Transport) String() string {
	var b strings.Builder
	b.WriteString(t.Spec)
	for _, p := range t.Params {
		b.WriteByte(';')
		b.WriteString(p.Name)
		if p.HasValue {
			b.WriteByte('=')
			b.WriteString(p.Value)
		}
	}
	return b.String()
}

// IsUDP reports whether the stream is sent in UDP datagrams to one receiver. UDP is the
// lower transport of RTP if none is named (RFC 2326, section 12.39). RealPlayer names
// "x-real-rdt/udp". Multicast needs no port of the client.
func (t Transport) IsUDP() bool {
	parts := strings.Split(strings.ToLower(t.Spec), "/")
	last := parts[len(parts)-1]
	udp := last == "udp" || len(parts) == 2 && parts[0] == "rtp"
	_, multicast := t.get("multicast")
	_, interleaved := t.get("interleaved")
	return udp && !multicast && !interleaved
}

// get returns a parameter. parseTransport refuses repeated parameters.
func (t Transport) get(name string) (Param, bool) {
	i := t.index(name)
	if i < 0 {
		return Param{}, false
	}
	return t.Params[i], true
}

func (t Transport) index(name string) int {
	return slices.IndexFunc(t.Params, func(p Param) bool { return strings.EqualFold(p.Name, name) })
}

// set changes the value of an existing parameter. Copies of t share it.
func (t Transport) set(name, value string) {
	t.Params[t.index(name)].Value = value
}

// ports returns the ports of a parameter. They are zero if there is no such parameter.
func (t Transport) ports(name string) (Ports, error) {
	p, ok := t.get(name)
	if !ok {
		return Ports{}, nil
	}
	return parsePorts(p.Value)
}

// endpoints returns the addresses of a parameter of RTSP 2.0, and whether there is one.
func (t Transport) endpoints(name string) (e endpoints, ok bool, err error) {
	p, ok := t.get(name)
	if !ok {
		return e, false, nil
	}
	e, err = parseEndpoints(p.Value)
	return e, true, err
}

// Transports returns the transports of all Transport fields, in order. It returns ErrSyntax
// if a field is not valid, and no transports if the message does not have the field.
func (m *Message) Transports() ([]Transport, error) {
	var out []Transport
	for _, f := range m.fields {
		if !m.named(f, transportField) {
			continue
		}
		all, err := parseTransports(unfold.Replace(string(m.value(f))))
		if err != nil {
			return nil, err
		}
		if out = append(out, all...); len(out) > MaxOffers {
			return nil, fmt.Errorf("%w: more than %d transports", ErrSyntax, MaxOffers)
		}
	}
	return out, nil
}

const transportField = "Transport"

// unfold makes one line of a field with several: the start of a line is a space (RFC 2326,
// section 4.2).
var unfold = strings.NewReplacer("\r", " ", "\n", " ")

// parseTransports reads the value of a Transport field. Commas separate transports and
// semicolons parameters, unless they are quoted.
func parseTransports(s string) ([]Transport, error) {
	var out []Transport
	for {
		one, rest, more, err := cut(s, ',')
		if err != nil {
			return nil, err
		}
		t, err := parseTransport(one)
		if err != nil {
			return nil, err
		}
		if out = append(out, t); len(out) > MaxOffers {
			return nil, fmt.Errorf("%w: more than %d transports", ErrSyntax, MaxOffers)
		}
		if !more {
			return out, nil
		}
		s = rest
	}
}

func parseTransport(s string) (Transport, error) {
	spec, s, more, err := cut(s, ';')
	if err != nil {
		return Transport{}, err
	}
	t := Transport{Spec: strings.Trim(spec, " \t")}
	if !isSpec(t.Spec) {
		return t, fmt.Errorf("%w: the transport %s", ErrSyntax, quote([]byte(t.Spec)))
	}
	for more {
		var one string
		if one, s, more, err = cut(s, ';'); err != nil {
			return t, err
		}
		name, value, has := strings.Cut(one, "=")
		p := Param{strings.Trim(name, " \t"), strings.Trim(value, " \t"), has}
		switch {
		case p.Name == "" && !has:
			continue // a semicolon at the end
		case !allToken([]byte(p.Name)):
			return t, fmt.Errorf("%w: the parameter %s of Transport", ErrSyntax, quote([]byte(one)))
		case t.index(p.Name) >= 0:
			// Two readers may use different ones.
			return t, fmt.Errorf("%w: %s is repeated in Transport", ErrSyntax, p.Name)
		case len(t.Params) == MaxParams:
			return t, fmt.Errorf("%w: more than %d parameters in Transport", ErrSyntax, MaxParams)
		}
		t.Params = append(t.Params, p)
	}
	return t, nil
}

// isSpec reports whether s is a name of a transport: tokens separated by slashes.
func isSpec(s string) bool {
	for part := range strings.SplitSeq(s, "/") {
		if !allToken([]byte(part)) {
			return false
		}
	}
	return true
}

// cut splits s at the first separator that is not quoted.
func cut(s string, sep byte) (before, after string, found bool, err error) {
	quoted := false
	for i := range len(s) {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			return s[:i], s[i+1:], true, nil
		}
	}
	if quoted {
		return s, "", false, fmt.Errorf("%w: a quote without an end in Transport", ErrSyntax)
	}
	return s, "", false, nil
}
