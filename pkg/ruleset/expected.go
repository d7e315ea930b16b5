package ruleset

import "fmt"

// A helper lets the peer of a container announce a port of the node, and conntrack
// redirects the next connection to that port: the kernel decides this in conntrack
// (nf_nat_follow_master in net/netfilter/nf_nat_helper.c), so the rules of other
// tables at dstnat are not asked. These rules come between conntrack and destination
// NAT, where the packet's header still has the address and the port of the node.

// expected selects the connections that helpers redirect to containers. Connections
// that other programs' helpers redirect are not affected.
func expected(objects []Object, s Sources) Chain {
	c := Chain{Name: expectedChain}
	if len(objects) == 0 {
		return c
	}
	for _, f := range families {
		c.Rules = append(c.Rules, Rule{
			"expected/helped" + f.suffix,
			fmt.Sprintf("ct reply %s saddr @helped%s jump announced", f.header, f.suffix),
			"the answer will come from the container",
		})
	}
	for _, f := range families {
		if len(s.Prefixes) > 0 && len(s.Policy.Helpers) > 0 {
			c.Rules = append(c.Rules, Rule{
				"expected/cidr" + f.suffix,
				fmt.Sprintf("ct reply %s saddr @cidr%s jump announced", f.header, f.suffix),
				"the answer will come from a pod that another plugin wired",
			})
		}
	}
	return c
}

// following refuses connections of containers that a helper expects, as of passive FTP,
// and for which the kernel keeps a port that is reserved for the node. Such a connection
// does not pass the policies: the helper has chosen the address, and the port stays what
// the container chose (nf_nat_follow_master). The next SYN, which is not expected any
// more, is translated by the policy.
func following(objects []Object, s Sources) Chain {
	c := Chain{Name: followingChain}
	if len(objects) == 0 {
		return c
	}
	for _, f := range families {
		sets := []string{"helped"}
		if len(s.Prefixes) > 0 && len(s.Policy.Helpers) > 0 {
			sets = append(sets, "cidr")
		}
		for _, set := range sets {
			match := fmt.Sprintf("%s saddr @%s%s ", f.header, set, f.suffix)
			for _, proto := range []string{"tcp", "udp"} {
				id := "-" + proto + "-" + set + f.suffix
				c.Rules = append(c.Rules,
					Rule{followingID + "well-known" + id, match + "meta l4proto " + proto + " ct reply proto-dst < 600 counter drop", "no flow leaves with a port below 600"},
					Rule{followingID + "reserved" + id, match + "meta l4proto " + proto + " ct reply proto-dst @reserved counter drop", "a program of the node has this port, or will"})
			}
		}
	}
	return c
}

// announced refuses the connections to ports that are not the container's to announce.
// The kernel removes an expectation when a connection claims it, so the connection's
// next SYN reaches the node as if there had been no expectation.
func announced(objects []Object) Chain {
	c := Chain{Name: announcedChain}
	if len(objects) == 0 {
		return c
	}
	// Each rule names a protocol, so an ICMP error about such a connection, which has
	// the connection's status, matches none.
	for _, proto := range []string{"tcp", "udp"} {
		c.Rules = append(c.Rules,
			Rule{announcedID + "privileged-" + proto, proto + " dport < 1024 counter drop", "a privileged port is the node's"},
			Rule{announcedID + "reserved-" + proto, proto + " dport @reserved counter drop", "a program of the node has this port, or will"},
			// Two rules, as the expression matches a socket's property: bound to one
			// address, or to all. Requires Linux 5.10 (NFT_SOCKET_WILDCARD).
			Rule{announcedID + "listening-" + proto, "meta l4proto " + proto + " socket wildcard 0 counter drop", "a socket of the node has this port at this address"},
			Rule{announcedID + "listening-any-" + proto, "meta l4proto " + proto + " socket wildcard 1 counter drop", "a socket of the node has this port at every address"},
		)
	}
	return c
}
