package veth

import (
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Uplink is an interface that a default route of a family leaves through.
type Uplink struct {
	Family    masq.Family
	Interface string
	MTU       int // the largest packet, in bytes, that leaves there in one piece
	// Source is the address that packets get which are masqueraded there. It is invalid
	// where the node has none. An IPv6 uplink may have a link-local one alone: then no
	// answer from beyond the link comes back.
	Source netip.Addr
}

// LinkLocal reports whether packets leave with a link-local IPv6 source, which no
// router forwards.
func (u Uplink) LinkLocal() bool { return u.Source.Is6() && u.Source.IsLinkLocalUnicast() }

// Uplinks returns the uplinks of the default routes, as Add, UplinkMTU and RepairForwarding
// count them: IPv4 first, and of a family the one first that packets of the node take.
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

// LinkLocalUplinks names the IPv6 uplinks that packets leave through with a link-local
// source. It takes a few requests, whatever the number of interfaces.
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
		if (Uplink{Source: source}).LinkLocal() {
			out = append(out, u.name)
		}
	}
	return out, nil
}

// sourceAt returns the address that masquerading chooses at an uplink: for IPv6 as the
// kernel chooses a source for a packet that leaves there (nf_nat_masquerade_ipv6), for
// IPv4 the first of the interface, or of another where that has none
// (inet_select_addr).
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
	// Perhaps only marked packets, or packets of certain sources, may leave there.
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
