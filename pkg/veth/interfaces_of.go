package veth

import (
	"net/netip"
	"slices"
)

// InterfacesOf returns, by address, the name of the node's interface that has the address.
// Addresses that no interface has are omitted. It reads all addresses of the node in one
// dump, and then the interfaces that were found.
func (c *Conn) InterfacesOf(addrs ...netip.Addr) (map[netip.Addr]string, error) {
	all, err := c.host.addresses(0)
	if err != nil {
		return nil, err
	}
	var found []netip.Addr
	var indexes []int
	for _, o := range all {
		if slices.Contains(addrs, o.Addr()) {
			found, indexes = append(found, o.Addr()), append(indexes, o.index)
		}
	}
	devices, err := c.host.devicesAt(indexes)
	if err != nil {
		return nil, err
	}
	names := map[netip.Addr]string{}
	for i, d := range devices {
		if d.index != 0 { // not deleted meanwhile
			names[found[i]] = d.name
		}
	}
	return names, nil
}
