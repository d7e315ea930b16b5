// Package veth makes, compares, repairs and deletes the link of a container: a veth pair
// with its addresses, routes and settings. It sends rtnetlink messages through package
// netlink.
//
// # The link of an attachment
//
//	container                              node
//	eth0  10.88.0.5/16 noprefixroute       veth1a2b3c4d5e6, group masq.CheckedGroup
//	      fd00:88::5/64 nodad                  fe80::.../64 nodad noprefixroute, no IPv4
//	      fe80::2/64 nodad                 10.88.0.5/32 dev veth1a2b3c4d5e6
//	default via 169.254.1.1                fd00:88::5/128 dev veth1a2b3c4d5e6
//	169.254.1.1 lladdr <host's end>        proxy neighbor 169.254.1.1
//	default via fe80::... of the host's end
//
// The link is point to point: each packet of the container goes to the node, which routes
// it. So the node needs no IPv4 address on the link, and each route of the container has
// the same next hop.
//
// Forwarding is enabled for packets that enter by the link and by the uplinks:
// net.ipv4.conf.*.forwarding, and force_forwarding for IPv6. Linux before 6.17 does not
// have force_forwarding; there net.ipv6.conf.all.forwarding is enabled, with accept_ra=2 on
// uplinks that accept router advertisements. These settings stay when a link is deleted.
// [Conn.RepairForwarding] enables forwarding again if another program disabled it, and on a
// new uplink; [Conn.Watch] reports when to call it.
//
// With Pair.MTUProbing, Add enables net.ipv4.tcp_mtu_probing in the container's network
// namespace, where it stays.
//
// # Neighbors of the host's end
//
// All network namespaces share the limit of the kernel's neighbor tables
// (net.ipv4.neigh.default.gc_thresh3). If sources are checked, the host's end learns only
// its container's addresses. For ARP, rp_filter ensures this: the kernel neither answers
// nor learns a sender to which its route leads elsewhere. For neighbor discovery, the rules
// do (chain sources of pkg/ruleset): they accept one link-local source,
// [masq.ContainerLinkLocal].
//
// The container's end may lose its carrier, its state and its MAC at any time. The node's
// side stays the same: arp_evict_nocarrier=0 keeps the proxy neighbor, and routes stay
// without a carrier. Requires Linux 5.16; before that, the kernel deletes the proxy
// neighbor, and an [Event] names the link when its carrier returns. A container that sets
// its end down keeps its addresses and loses its routes, as any Linux host does.
//
// # Comparison and repair
//
// [Conn.Compare] and [Conn.CompareContainer] are the only comparison of a link with what
// Add made. [Conn.Repair] restores the node's side of all links; [Conn.RepairIndexes] does
// so for the links that an [Event] names.
//
// # Cost
//
// Add takes a few netlink exchanges, most of them one sendmsg with all its requests: see
// [Conn.Add]. It lists routing rules, default routes and, with IPv6, the node's IPv4
// addresses, but no links and no routes to containers. It lists all addresses only on a node
// without a default route, or with an uplink that does not forward yet.
//
// # Limits
//
// Requires Linux 5.15 (tested on 6.1 and 6.18). IPv6 needs an MTU of at least 1280. To
// delete a link takes the kernel 15 to 30 ms (it waits for RCU readers). With IPv6, Add
// takes 0.5 ms more for each 1,000 links: the kernel walks the node's IPv6 routes when an
// interface is set up.
//
// # Debugging
//
//	ip -d link show group 1835103089    # host's ends; 1835103088 without source check
//	                                    # the alias names the attachment
//	ip neigh show proxy; ip route get <address of a container>
//	ip -n <netns> addr; ip -n <netns> route; ip -n <netns> neigh
package veth
