package masq

import (
	"fmt"
	"net/netip"
)

// Link is what a record says of a link that the plugin made.
type Link struct {
	NetNS string // path of the container's network namespace at ADD
	MTU   int    // in bytes; 0 where it is not known
	// HostMAC is the MAC of the host's end, empty where it is not known.
	HostMAC string
	// Prefixes are the container's addresses with their prefix lengths, and Routes its
	// routes beside the default ones. Records of earlier versions have neither: where
	// Prefixes is empty, both are unknown.
	Prefixes []netip.Prefix
	Routes   []Route
}

// Validate reports values that no Add can have written.
func (w Link) Validate() error {
	for _, p := range w.Prefixes {
		if !p.IsValid() || p.Addr().Zone() != "" {
			return fmt.Errorf("prefix %q cannot be a container's address", p)
		}
	}
	for _, r := range w.Routes {
		if !r.Dst.IsValid() {
			return fmt.Errorf("route to %q has no destination", r.Dst)
		}
	}
	return nil
}
