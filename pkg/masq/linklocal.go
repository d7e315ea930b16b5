package masq

import "net/netip"

// ContainerLinkLocal is the IPv6 link-local address of the container's end of each link
// that the plugin makes. All links have the same: each link has two ends, and the
// host's end has the address of its MAC. The source check accepts only this link-local
// source: with 2^64 sources, a container could fill the node's neighbor table.
var ContainerLinkLocal = netip.MustParseAddr("fe80::2")
