package veth

import (
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Uplink is an interface of a default route, for one family.
type Uplink struct {
	Family    masq.Family
	Interface string
	MTU       int // the size, in bytes, of the largest packet that it sends without fragmentation
	// Source is the source address of packets that are masqueraded there; invalid if the
	// node has none. With a link-local address, no replies come from beyond the link.
	Source netip.Addr
}

// Uplinks returns the uplinks of the default routes, as Add, UplinkMTU and RepairForwarding
// determine them. IPv4 uplinks are first, and in each family the uplink that packets of the
// node take.
func (c *Conn) Uplinks() ([]Uplink, error) {
	found, err := c.defaultUplinks(masq.Families[:])
	if err != nil {
		return nil, err
	}
	var out []Uplink
	for _, u := range found {
		source, err := c.sourceAt(u)
		if err != nil {
			return nil, err
		}
		out = append(out, Uplink{Family: u.family, Interface: u.name, MTU: u.mtu(), Source: source})
	}
	return out, nil
}

// LinkLocalUplinks returns the names of the IPv6 uplinks where masqueraded packets get a
// link-local source, which no router forwards. It takes a few requests, for any number of
// interfaces.
func (c *Conn) LinkLocalUplinks() ([]string, error) {
	found, err := c.defaultUplinks([]masq.Family{masq.IPv6})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, u := range found {
		source, err := c.sourceAt(u)
		if err != nil {
			return nil, err
		}
		if source.IsLinkLocalUnicast() {
			out = append(out, u.name)
		}
	}
	return out, nil
}

// sourceAt returns the address that masquerading selects at an uplink: for IPv6 the source
// that the kernel selects for a packet (nf_nat_masquerade_ipv6); for IPv4 the first address
// of the interface or, if it has none, of another interface (inet_select_addr).
func (c *Conn) sourceAt(u uplink) (netip.Addr, error) {
	m := lookUpPacket(probes[u.family], u.index)
	_ = c.host.exchange(m) // path reads the error
	if _, found, err := m.path(); err != nil {
		return netip.Addr{}, err
	} else if found {
		if h, ok := readNextHops(m.reply); ok && h.source.IsValid() {
			return h.source, nil
		}
	}
	// The route may be for marked packets, or packets of certain sources, only.
	all, err := c.host.addresses(u.index)
	if err != nil {
		return netip.Addr{}, err
	}
	var local netip.Addr
	for _, a := range all {
		switch {
		case a.index != u.index || masq.FamilyOf(a.Addr()) != u.family:
		case a.Addr().IsGlobalUnicast():
			return a.Addr(), nil
		default:
			local = a.Addr()
		}
	}
	return local, nil
}
