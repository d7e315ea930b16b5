package rtsp

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ErrPorts is the error for ports that cannot be opened: an invalid number, zero, more than
// two ports, or a port that was not requested.
var ErrPorts = errors.New("invalid ports in Transport")

// Ports are the UDP ports of one end of a stream: usually one for RTP, and the next one for
// RTCP.
type Ports struct {
	First  uint16
	Second uint16 // 0 for none
}

// IsZero reports whether there are no ports.
func (p Ports) IsZero() bool { return p.First == 0 }

// String returns the ports as a Transport header has them: "5000-5001", "5000".
func (p Ports) String() string {
	switch {
	case p.IsZero():
		return ""
	case p.Second == 0:
		return strconv.Itoa(int(p.First))
	}
	return fmt.Sprintf("%d-%d", p.First, p.Second)
}

// parsePorts reads "5000" or "5000-5001". A range has two ports: RTP and RTCP (RFC 2326,
// section 12.39). RealPlayer writes two ports that do not follow each other with a slash.
func parsePorts(s string) (Ports, error) {
	first, second, two := strings.Cut(s, "-")
	slash := false
	if !two {
		first, second, two = strings.Cut(s, "/")
		slash = two
	}
	a, err := parsePort(first)
	if err != nil {
		return Ports{}, err
	}
	if !two {
		return Ports{a, 0}, nil
	}
	b, err := parsePort(second)
	if err != nil {
		return Ports{}, err
	}
	if a == b || !slash && int(b) != int(a)+1 {
		return Ports{}, fmt.Errorf("%w: %s is not a pair", ErrPorts, quote([]byte(s)))
	}
	return Ports{a, b}, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%w: %s is not a port", ErrPorts, quote([]byte(s)))
	}
	return uint16(n), nil
}

// endpoints are the addresses of src_addr or dest_addr of RTSP 2.0 (RFC 7826, section
// 18.54): `"192.0.2.5:6256"/"192.0.2.5:6257"`, `":3456"/":3457"`.
type endpoints struct {
	host  string // without brackets; "" for none
	ports Ports
}

func parseEndpoints(s string) (endpoints, error) {
	var out endpoints
	all := strings.Split(s, "/")
	if len(all) > 2 {
		return out, fmt.Errorf("%w: %s has more than two addresses", ErrPorts, quote([]byte(s)))
	}
	for i, one := range all {
		one = strings.TrimSpace(one)
		if len(one) < 2 || one[0] != '"' || one[len(one)-1] != '"' {
			return out, fmt.Errorf("%w: %s is not quoted", ErrPorts, quote([]byte(s)))
		}
		one = one[1 : len(one)-1]
		colon := strings.LastIndexByte(one, ':')
		if colon < 0 {
			return out, fmt.Errorf("%w: %s has no port", ErrPorts, quote([]byte(s)))
		}
		host := strings.TrimSuffix(strings.TrimPrefix(one[:colon], "["), "]")
		port, err := parsePort(one[colon+1:])
		switch {
		case err != nil:
			return out, err
		case i == 0:
			out = endpoints{host, Ports{First: port}}
		case host != out.host || port == out.ports.First:
			return out, fmt.Errorf("%w: %s names two hosts or one port twice", ErrPorts, quote([]byte(s)))
		default:
			out.ports.Second = port
		}
	}
	return out, nil
}

// String returns the endpoints as a header has them.
func (e endpoints) String() string {
	host := e.host
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		host = "[" + host + "]"
	}
	out := fmt.Sprintf(`"%s:%d"`, host, e.ports.First)
	if e.ports.Second != 0 {
		out += fmt.Sprintf(`/"%s:%d"`, host, e.ports.Second)
	}
	return out
}
