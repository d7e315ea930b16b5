package wire

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Holders names the interface of the node that has each of the addresses; an address
// that no interface has is left out. It reads all addresses of the node in one dump, and
// then the interfaces that were found.
func (w *Wire) Holders(addrs ...netip.Addr) (map[netip.Addr]string, error) {
	all, err := w.host.addresses(0)
	if err != nil {
		return nil, err
	}
	var found []owned
	var lookups []*message
	for _, o := range all {
		if slices.Contains(addrs, o.Addr()) {
			m := getByIndex(o.index)
			m.allow = unix.ENODEV // deleted meanwhile
			found, lookups = append(found, o), append(lookups, m)
		}
	}
	if len(lookups) == 0 {
		return nil, nil
	}
	if err := w.host.exchange(lookups...); err != nil {
		return nil, err
	}
	names := map[netip.Addr]string{}
	for i, m := range lookups {
		if m.reply == nil {
			continue
		}
		d, err := m.device()
		if err != nil {
			return nil, err
		}
		names[found[i].Addr()] = d.name
	}
	return names, nil
}
