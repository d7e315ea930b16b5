package node

import (
	"fmt"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// QueryLinks calls query with a connection to rtnetlink.
func QueryLinks[T any](query func(*veth.Conn) (T, error)) (x T, err error) {
	w, err := veth.Open()
	if err != nil {
		return x, err
	}
	defer func() { _ = w.Close() }()
	return query(w)
}

// HasAddress reports whether the node has an address.
func HasAddress(a netip.Addr) (bool, error) {
	return QueryLinks(func(w *veth.Conn) (bool, error) { return w.HasAddress(a) })
}

// Holders returns the interfaces that have these addresses, by address.
func Holders(addrs ...netip.Addr) (map[netip.Addr]string, error) {
	return QueryLinks(func(w *veth.Conn) (map[netip.Addr]string, error) { return w.InterfacesOf(addrs...) })
}

// Uplinks returns the uplinks of all default routes, as ADD and masqd determine them, with
// the source address that masqueraded packets get there. No packet is sent.
func Uplinks() ([]report.Uplink, error) {
	all, err := QueryLinks((*veth.Conn).Uplinks)
	if err != nil {
		return nil, fmt.Errorf("look up the uplinks: %w", err)
	}
	out := []report.Uplink{}
	for _, u := range all {
		out = append(out, report.Uplink{Interface: u.Interface, Address: u.Source})
	}
	return out, nil
}

// PlainAddr returns an address as conntrack has it: without a zone, and IPv4 not mapped
// into IPv6.
func PlainAddr(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
