package hostlocal

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// The values of a configuration keep their faults rather than stop its decoding, so
// that all faults can be reported, each with its key.

// address is a single address, or the zero Addr where it is absent or empty.
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

// asked is an address that somebody asks for: CNI lets it have a prefix length,
// which says nothing here.
type asked struct{ address }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *asked) UnmarshalText(b []byte) error {
	if !strings.Contains(string(b), "/") {
		return a.address.UnmarshalText(b)
	}
	ip, _, err := net.ParseCIDR(string(b))
	if err != nil {
		a.fault = errors.Join(a.fault, fmt.Errorf("%q is neither an address nor an address with prefix length", b))
		return nil
	}
	a.Addr, _ = netip.AddrFromSlice(ip)
	a.Addr = a.Unmap()
	return nil
}

// subnet is a network, or the zero Prefix where it is absent.
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

// parseSubnet reads with package net what host-local reads with it: netip is stricter
// about the prefix length.
func parseSubnet(s string) (netip.Prefix, error) {
	ip, network, err := net.ParseCIDR(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no subnet such as 10.0.0.0/24", s)
	}
	addr, _ := netip.AddrFromSlice(ip)
	addr = addr.Unmap()
	ones, size := network.Mask.Size()
	switch p := netip.PrefixFrom(addr, ones); {
	case size != addr.BitLen():
		return netip.Prefix{}, fmt.Errorf("%q is an IPv4 address with an IPv6 prefix length", s)
	case ones > size-2:
		return netip.Prefix{}, fmt.Errorf("%q is too small to lease from: at most /%d", s, size-2)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has host bits set: write %s", s, p.Masked())
	default:
		return p, nil
	}
}

// parseAddr returns the address in its one form: an IPv4 address is never mapped
// into IPv6, and none has a zone.
func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is no address", s)
	}
	return a.Unmap(), nil
}
