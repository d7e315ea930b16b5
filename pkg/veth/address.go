package veth

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// addAddress returns the request to add an address to an interface. IPv6 duplicate address
// detection is off (IFA_F_NODAD): it takes a second, and both addresses of the link are
// unique, by IPAM or by the MAC that Add drew.
func addAddress(a netip.Prefix, flags uint32, index int, where string) *message {
	if a.Addr().Is6() {
		flags |= unix.IFA_F_NODAD
	}
	m := newMessage(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, fmt.Sprintf("add address %s to %s", a, where),
		unix.IfAddrmsg{Family: familyOf(a.Addr()), Prefixlen: uint8(a.Bits()), Index: uint32(index)})
	m.addr(unix.IFA_LOCAL, a.Addr())
	m.addr(unix.IFA_ADDRESS, a.Addr())
	m.NativeUint32(unix.IFA_FLAGS, flags)
	return m
}

// linkLocalPrefix returns a link-local address with the prefix length of an interface.
func linkLocalPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, 64) }

// ifaceAddr is an address and the index of the interface that has it.
type ifaceAddr struct {
	netip.Prefix
	index int
}

// addresses lists the addresses of one interface, or of all for index 0.
func (s *socket) addresses(index int) ([]ifaceAddr, error) {
	var out []ifaceAddr
	err := s.dump(listAddresses(unix.AF_UNSPEC, index), func() { out = nil }, func(b []byte) {
		if a, ok := readAddress(b); ok {
			out = append(out, a)
		}
	})
	return out, err
}

// listAddresses asks for the addresses of one interface, or of all interfaces for index 0.
func listAddresses(family uint8, index int) *message {
	return newMessage(unix.RTM_GETADDR, 0, "list addresses", unix.IfAddrmsg{Family: family, Index: uint32(index)})
}

// readAddress reads the body of an RTM_NEWADDR or RTM_DELADDR.
func readAddress(b []byte) (ifaceAddr, bool) {
	info, attributes, ok := decodeHeader[unix.IfAddrmsg](b)
	if !ok {
		return ifaceAddr{}, false
	}
	var local, remote netip.Addr
	for kind, v := range netlink.All(attributes) {
		switch kind {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(v)
		case unix.IFA_ADDRESS: // the other end's address, if IFA_LOCAL is present
			remote, _ = netip.AddrFromSlice(v)
		}
	}
	if !local.IsValid() {
		local = remote
	}
	return ifaceAddr{netip.PrefixFrom(local, int(info.Prefixlen)), int(info.Index)}, local.IsValid()
}

// getAddress returns the request for an IPv6 address of an interface.
func getAddress(a netip.Addr, index int) *message {
	m := newMessage(unix.RTM_GETADDR, 0, "look up address "+a.String(), unix.IfAddrmsg{Family: unix.AF_INET6, Index: uint32(index)})
	m.addr(unix.IFA_ADDRESS, a)
	return m
}

// hasAddress reports whether the answer to getAddress has the address.
func (m *message) hasAddress() (bool, error) {
	for _, missing := range []unix.Errno{unix.EADDRNOTAVAIL, unix.ENODEV} {
		if errors.Is(m.err, missing) {
			return false, nil
		}
	}
	return m.err == nil, m.failed()
}
