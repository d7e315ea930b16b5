package masq

import "net/netip"

// ContainerLinkLocal is the IPv6 link-local address of the container's end of each link
// that the plugin makes. A link has two ends and the host's end derives its address
// from its MAC, so that one address serves all links. The source check accepts this
// link-local source and no other: with a free choice of 2^64 sources a container fills
// the node's neighbor table.
var ContainerLinkLocal = netip.MustParseAddr("fe80::2")
