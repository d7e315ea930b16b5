// Package wire gives a container its link: a veth pair, addresses, routes and
// the few settings that let packets through.
//
// # What an attachment's link looks like
//
//	container                              node
//	eth0  10.88.0.5/16 noprefixroute       veth1a2b3c4d5e6  group "masq", no IPv4 address
//	      fd00:88::5/64 nodad                               fe80::.../64 of its own
//	default via 169.254.1.1                10.88.0.5/32 dev veth1a2b3c4d5e6
//	169.254.1.1 lladdr <host's end>        fd00:88::5/128 dev veth1a2b3c4d5e6
//	default via fe80::... of the host's end
//
// The link is point to point: whatever the container sends goes to the node,
// which routes it. So the node needs no IPv4 address on the link, and no number
// of containers makes it learn, flood or answer for anything.
//
// # How it is made
//
// In a handful of netlink transactions, each one sendmsg with all its requests:
// see [Wire.Add]. Nothing is looked up by dump, save the addresses of the node
// where it has no default route, or one whose uplink does not forward yet.
//
// # Limits
//
// Requires Linux 5.15. IPv6 needs an MTU of at least 1280. Deleting a link
// takes the kernel 15 to 30 ms (it waits for RCU readers); [Wire.DeleteMany]
// pays that once for all of them.
//
// # Debugging
//
//	ip -d link show group 1835102065    # every host's end; the alias names its attachment
//	ip route show proto kernel scope link | grep veth
//	ip -n <netns> addr; ip -n <netns> route; ip -n <netns> neigh
package wire
