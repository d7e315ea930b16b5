package masq

import (
	"fmt"
	"net/netip"
)

// Link describes a link that the plugin made, as its record has it.
type Link struct {
	NetNS string // path of the container's network namespace at ADD
	MTU   int    // in bytes; 0 if it is not known
	// HostMAC is the MAC of the host's end; empty if it is not known.
	HostMAC string
	// Prefixes are the container's addresses with prefix lengths. Routes are its configured
	// routes. Records of earlier versions have neither: if Prefixes is empty, both are unknown.
	Prefixes []netip.Prefix
	Routes   []Route
	// MTUProbing lets TCP in the container find the segment size that a path can carry
	// (net.ipv4.tcp_mtu_probing of its network namespace).
	MTUProbing bool
}

// Validate reports values that ADD cannot have written.
func (l Link) Validate() error {
	for _, p := range l.Prefixes {
		if !p.IsValid() || p.Addr().Zone() != "" {
			return fmt.Errorf("prefix %q cannot be a container's address", p)
		}
	}
	for _, r := range l.Routes {
		if !r.Dst.IsValid() {
			return fmt.Errorf("route to %q has no destination", r.Dst)
		}
	}
	return nil
}
