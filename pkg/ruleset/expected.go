package ruleset

import "fmt"

// With a helper, the peer of a container can announce a port of the node, and conntrack
// redirects the next connection to that port to the container. Conntrack decides this
// (nf_nat_follow_master in net/netfilter/nf_nat_helper.c), so rules of other tables at
// dstnat do not see the connection. These rules come between conntrack and destination
// NAT, where the packet's header still has the node's address and port.

// expected selects the connections that helpers redirect to containers. Connections that
// helpers of other programs redirect are not affected.
func expected(objects []Object, s Sources) Chain {
	c := Chain{Name: expectedChain}
	if len(objects) == 0 {
		return c
	}
	for _, f := range families {
		c.Rules = append(c.Rules, Rule{
			"expected/helped" + f.suffix,
			fmt.Sprintf("ct reply %s saddr @helped%s jump announced", f.header, f.suffix),
			"the connection goes to a container that has a helper",
		})
	}
	for _, f := range families {
		if len(s.Prefixes) > 0 && len(s.Policy.KernelHelpers()) > 0 {
			c.Rules = append(c.Rules, Rule{
				"expected/cidr" + f.suffix,
				fmt.Sprintf("ct reply %s saddr @cidr%s jump announced", f.header, f.suffix),
				"the connection goes to a pod of another plugin",
			})
		}
	}
	return c
}

// following drops connections of containers that a helper expects, such as passive FTP, if
// the kernel would give them a port that is reserved for the node. The policy is not
// consulted for them: the helper chooses the address, and the port stays the one that the
// container chose (nf_nat_follow_master). The next SYN is no longer expected, and is
// translated by the policy.
func following(objects []Object, s Sources) Chain {
	c := Chain{Name: followingChain}
	if len(objects) == 0 {
		return c
	}
	for _, f := range families {
		sets := []string{"helped"}
		if len(s.Prefixes) > 0 && len(s.Policy.KernelHelpers()) > 0 {
			sets = append(sets, "cidr")
		}
		for _, set := range sets {
			match := fmt.Sprintf("%s saddr @%s%s ", f.header, set, f.suffix)
			for _, proto := range []string{"tcp", "udp"} {
				id := "-" + proto + "-" + set + f.suffix
				c.Rules = append(c.Rules,
					Rule{followingID + "well-known" + id, match + "meta l4proto " + proto + " ct reply proto-dst < 600 counter drop", "no flow leaves with a port below 600"},
					Rule{followingID + "reserved" + id, match + "meta l4proto " + proto + " ct reply proto-dst @reserved counter drop", "the port is reserved for the node"})
			}
		}
	}
	return c
}

// announced drops connections to announced ports that belong to the node. The kernel
// removes an expectation when a connection claims it, so the next SYN reaches the node as
// if there had been no expectation.
func announced(objects []Object) Chain {
	c := Chain{Name: announcedChain}
	if len(objects) == 0 {
		return c
	}
	// Each rule names a protocol, so that it does not match ICMP errors about such a
	// connection, which have the connection's status.
	for _, proto := range []string{"tcp", "udp"} {
		c.Rules = append(c.Rules,
			Rule{announcedID + "privileged-" + proto, proto + " dport < 1024 counter drop", "privileged ports belong to the node"},
			Rule{announcedID + "reserved-" + proto, proto + " dport @reserved counter drop", "the port is reserved for the node"},
			// Two rules, because the expression matches a property of the socket: bound to
			// one address, or to all. Requires Linux 5.10 (NFT_SOCKET_WILDCARD).
			Rule{announcedID + "listening-" + proto, "meta l4proto " + proto + " socket wildcard 0 counter drop", "a socket of the node is bound to this address and port"},
			Rule{announcedID + "listening-any-" + proto, "meta l4proto " + proto + " socket wildcard 1 counter drop", "a socket of the node is bound to this port on all addresses"},
		)
	}
	return c
}
