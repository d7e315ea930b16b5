package main

import (
	"fmt"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// uplinks returns the uplinks of all default routes, as ADD and masqd determine them, with
// the source address that masqueraded packets get there. No packet is sent.
func uplinks() ([]report.Uplink, error) {
	out := []report.Uplink{}
	w, err := veth.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Close() }()
	all, err := w.Uplinks()
	if err != nil {
		return nil, fmt.Errorf("look up the uplinks: %w", err)
	}
	for _, u := range all {
		out = append(out, report.Uplink{Interface: u.Interface, Address: u.Source})
	}
	return out, nil
}

// holders names the interfaces that have these addresses.
func holders(addrs ...netip.Addr) (map[netip.Addr]string, error) {
	w, err := veth.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Close() }()
	return w.Holders(addrs...)
}
