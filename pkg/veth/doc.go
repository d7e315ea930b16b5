// Package veth gives a container its link: a veth pair, addresses, routes and
// the few settings that let packets through.
//
// # What an attachment's link looks like
//
//	container                              node
//	eth0  10.88.0.5/16 noprefixroute       veth1a2b3c4d5e6, group masq.CheckedGroup
//	      fd00:88::5/64 nodad                  fe80::.../64 nodad noprefixroute, no IPv4
//	      fe80::2/64 nodad                 10.88.0.5/32 dev veth1a2b3c4d5e6
//	default via 169.254.1.1                fd00:88::5/128 dev veth1a2b3c4d5e6
//	169.254.1.1 lladdr <host's end>        proxy neighbour 169.254.1.1
//	default via fe80::... of the host's end
//
// The link is point to point: whatever the container sends goes to the node,
// which routes it. So the node needs no IPv4 address on the link, there is one
// next hop whatever a configuration calls it, and no number of containers makes
// the node learn or flood anything.
//
// Forwarding is turned on for what enters by the link and by the uplinks, and
// for nothing else: net.ipv4.conf.*.forwarding, and force_forwarding for IPv6.
// Linux before 6.17 lacks the latter; there net.ipv6.conf.all.forwarding is
// turned on, with accept_ra=2 for uplinks that listen to routers. All of it
// stays when a link goes. [Conn.RepairForwarding] turns on what was turned off later, and
// forwarding of an uplink that is new; [Conn.Watch] says when to call it.
//
// # What the host's end learns
//
// The neighbor tables of the kernel are shared by all network namespaces, and so is their
// limit (net.ipv4.neigh.default.gc_thresh3). Where sources are checked, the host's end
// learns its container's own addresses only. For ARP, rp_filter sees to that: the kernel
// neither answers nor learns a sender whose route does not lead to the interface. For
// neighbor discovery the rules do (chain sources of pkg/ruleset), which accept one
// link-local source, [masq.ContainerLinkLocal].
//
// The container's end may lose its carrier, its state and its MAC at any time. The node's
// side does not change with that: arp_evict_nocarrier=0 keeps the proxy neighbor, and
// routes stay while the carrier is gone. Requires Linux 5.16; before that, the proxy
// neighbor is deleted, and an [Event] names the link when its carrier returns. A container
// that takes its own end down keeps its addresses and loses its routes, as any Linux
// machine does.
//
// # How it is kept
//
// [Conn.Compare] and [Conn.CompareContainer] are the one comparison of a link with what
// Add made of it. [Conn.Repair] restores the node's side of all links;
// [Conn.RepairIndexes] does so for the links that an [Event] names.
//
// # How it is made
//
// In a handful of netlink transactions, each one sendmsg with all its requests:
// see [Conn.Add]. Nothing is looked up by dump, save the addresses of the node
// where it has no default route, or one whose uplink does not forward yet.
//
// # Limits
//
// Requires Linux 5.15 (tested on 6.1 and 6.18). IPv6 needs an MTU of at least
// 1280. Deleting a link takes the kernel 15 to 30 ms (it waits for RCU readers).
// With IPv6, an Add takes
// 0.5 ms more for each 1,000 links: the kernel walks the node's IPv6 routes
// when an interface comes up.
//
// # Debugging
//
//	ip -d link show group 1835103089    # host's ends; 1835103088 without source check
//	                                    # the alias names the attachment
//	ip neigh show proxy; ip route get <address of a container>
//	ip -n <netns> addr; ip -n <netns> route; ip -n <netns> neigh
package veth
