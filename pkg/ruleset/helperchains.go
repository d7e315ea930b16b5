package ruleset

import (
	"fmt"
	"strconv"
)

// The chains of the table for masqd's helpers, except the chains of policies.
const (
	openedChain         = "opened"
	servicesChain       = "services"
	cidrChain           = "cidr"
	redirectChainPrefix = "redirect-"
)

// prerouting comes after the chains of the other table that drop forged sources, and after
// destination NAT (-100) of other programs. The first translation that applies is final, so the
// chain does not see flows that another program redirects, such as flows to a Service: the server
// is then another host than the one that the client names, often one that sees the client's own
// address.
func (b *helperBuilder) prerouting() Chain {
	c := Chain{Name: PreroutingChain, Hook: &Hook{"nat", "prerouting", "dstnat + 1"}}
	for _, f := range families {
		c.Rules = append(c.Rules, Rule{
			"prerouting/listener" + f.suffix,
			fmt.Sprintf("%s daddr . meta l4proto . th dport @%s counter drop", f.header, ListenerSet.Of(f.family)),
			"only redirected flows reach masqd, and their destination is not its address",
		})
	}
	for _, f := range families {
		c.Rules = append(c.Rules, Rule{
			"prerouting/redirect" + f.suffix,
			fmt.Sprintf("%s saddr . meta l4proto . th dport vmap @%s", f.header, RedirectMap.Of(f.family)),
			"one lookup finds the attachments that have a helper for the port",
		})
	}
	c.Rules = append(c.Rules, b.sources.each("prerouting/cidr", "jump "+cidrChain, "pods of other plugins use the node's policy")...)
	return c
}

// opened lets in the flows that sessions announced. It comes before destination NAT of other
// programs: while a container that publishes its talk daemon calls, messages of the peer have to
// pass masqd, because the daemon's answers name an address that the peer cannot reach.
func opened() Chain {
	c := Chain{Name: openedChain, Hook: &Hook{"nat", "prerouting", "dstnat - 1"}, Rules: []Rule{
		{"opened/service", "fib daddr type @never jump " + servicesChain, "a service of the node takes precedence over a port that was announced"},
	}}
	for _, f := range families {
		// If the map does not have the key, the rule ends without an effect (NFT_BREAK in
		// nft_lookup_eval, net/netfilter/nft_lookup.c).
		c.Rules = append(c.Rules, Rule{
			"opened/map" + f.suffix,
			fmt.Sprintf("dnat %[1]s to %[1]s daddr . meta l4proto . th dport . %[1]s saddr map @%[2]s", f.header, OpenedMap.Of(f.family)),
			"a peer reaches the port that was announced to it",
		})
	}
	return c
}

// cidr has a rule for each port of the node's policy, as sourceCIDRs are not elements of a
// map.
func (b *helperBuilder) cidr() Chain {
	c := Chain{Name: cidrChain}
	for _, f := range families {
		c.Rules = append(c.Rules, Rule{
			"cidr/apart" + f.suffix,
			fmt.Sprintf("%s saddr @%s return", f.header, ApartSet.Of(f.family)),
			"the policy of an attachment takes precedence",
		})
	}
	for _, x := range daemonPorts(b.sources.Policy) {
		match := ""
		if x.ipv4Only {
			match = "meta nfproto ipv4 "
		}
		c.Rules = append(c.Rules, Rule{
			"cidr/" + x.helper + "-" + x.protocol + "-" + strconv.Itoa(int(x.number)),
			fmt.Sprintf("%s%s dport %d goto %s", match, x.protocol, x.number, redirectChainPrefix+b.sources.Policy.ID()),
			"pods of other plugins use the node's policy",
		})
	}
	return c
}

// services ends the base chain for flows to a socket of the node.
func services() Chain {
	c := Chain{Name: servicesChain}
	for _, protocol := range helperProtocols {
		c.Rules = append(c.Rules,
			// Two rules, because the expression matches a property of the socket: bound to
			// one address, or to all.
			Rule{"services/bound-" + protocol, "meta l4proto " + protocol + " socket wildcard 0 accept", "a socket of the node is bound to this address and port"},
			Rule{"services/any-" + protocol, "meta l4proto " + protocol + " socket wildcard 1 accept", "a socket of the node is bound to this port on all addresses"},
		)
	}
	return c
}

// redirect returns the chain that redirects flows of a policy's attachments to masqd. Flows
// that the policy does not translate need no helper.
func (b *helperBuilder) redirect(policy string) Chain {
	c := Chain{Name: redirectChainPrefix + policy}
	for _, f := range families {
		c.Rules = append(c.Rules, Rule{
			"redirect/direct" + f.suffix,
			fmt.Sprintf("%s daddr @%s return", f.header, SetName{DirectSet, f.family, policy}),
			"direct destinations see the container's own address",
		})
	}
	c.Rules = append(c.Rules, Rule{"redirect/never", "fib daddr type @never return", "the node itself; broadcast, anycast and multicast destinations"})
	for _, f := range families {
		for _, protocol := range helperProtocols {
			l := b.listeners[f.family].of(protocol)
			if !l.IsValid() {
				continue
			}
			c.Rules = append(c.Rules, Rule{
				"redirect/" + protocol + f.suffix,
				fmt.Sprintf("meta nfproto %s meta l4proto %s dnat %s to %s", f.nfproto, protocol, f.header, l),
				"masqd speaks to the server for the client",
			})
		}
	}
	return c
}

// spoken applies the policies of clients to masqd's connections. It comes before the other
// table, which leaves flows of the node untranslated.
func spoken() Chain {
	c := Chain{Name: postroutingChain, Hook: &Hook{"nat", "postrouting", "srcnat - 2"}}
	for _, f := range families {
		c.Rules = append(c.Rules, Rule{
			"postrouting/spoken" + f.suffix,
			fmt.Sprintf("%s saddr . meta l4proto . th sport vmap @%s", f.header, SpokenMap.Of(f.family)),
			"the server must see the address that it would see without masqd",
		})
	}
	return c
}
