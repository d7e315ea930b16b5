package hostlocal

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// address is an address of a configuration, or the zero Addr if it is absent or empty. Its
// fault does not stop the decoding, so that all faults are reported, each with its key.
type address struct {
	netip.Addr
	fault error
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *address) UnmarshalText(b []byte) error {
	a.Addr = netip.Addr{}
	if len(b) == 0 {
		return nil
	}
	addr, err := parseAddr(string(b))
	if err != nil {
		a.fault = errors.Join(a.fault, err)
		return nil
	}
	a.Addr = addr
	return nil
}

// requested is an address that a runtime requests. CNI allows a prefix length, which is
// ignored.
type requested struct{ address }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *requested) UnmarshalText(b []byte) error {
	if !strings.Contains(string(b), "/") {
		return a.address.UnmarshalText(b)
	}
	ip, _, err := net.ParseCIDR(string(b))
	if err != nil {
		a.fault = errors.Join(a.fault, fmt.Errorf("%q is not an address; give one such as \"10.0.0.5\" or \"10.0.0.5/24\"", b))
		return nil
	}
	a.Addr, _ = netip.AddrFromSlice(ip)
	a.Addr = a.Unmap()
	return nil
}

// subnet is a subnet of a configuration, or the zero Prefix if it is absent. For its fault
// see address.
type subnet struct {
	netip.Prefix
	given bool
	fault error
}

// UnmarshalJSON implements json.Unmarshaler.
func (n *subnet) UnmarshalJSON(b []byte) error {
	n.given = true
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	p, err := parseSubnet(s)
	if err != nil {
		n.fault = errors.Join(n.fault, err)
		return nil
	}
	n.Prefix = p
	return nil
}

// parseSubnet parses with package net, as host-local does: package netip is stricter about
// the prefix length.
func parseSubnet(s string) (netip.Prefix, error) {
	ip, network, err := net.ParseCIDR(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a subnet; give one such as \"10.0.0.0/24\"", s)
	}
	addr, _ := netip.AddrFromSlice(ip)
	addr = addr.Unmap()
	ones, size := network.Mask.Size()
	switch p := netip.PrefixFrom(addr, ones); {
	case size != addr.BitLen():
		return netip.Prefix{}, fmt.Errorf("%q is an IPv4 address with an IPv6 prefix length; give a length of at most 32", s)
	case ones > size-2:
		return netip.Prefix{}, fmt.Errorf("%q is too small to lease addresses; give a prefix length of at most %d", s, size-2)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits beyond its length; write %q", s, p.Masked())
	default:
		return p, nil
	}
}

// parseAddr parses an address without zone. It converts an IPv4 address that is mapped into
// IPv6 to IPv4.
func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is not an address", s)
	}
	return a.Unmap(), nil
}
