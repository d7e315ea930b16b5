package ruleset

import (
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// The chains that are there whatever the policies are. How many packets meet a
// rule decides its place: every packet, every packet of an attachment, the first
// packet of a flow.

// preroutingEarly comes before defragmentation (-400), other programs' raw tables (-300) and
// conntrack (-200). Fragments that carry a forged address must not complete the datagram
// of another container, and forged packets must not use its expectations. The rules match
// only what a fragment has too: the interface and the addresses.
func preroutingEarly() Chain {
	return Chain{
		Name: "prerouting-early",
		Hook: &Hook{"filter", "prerouting", "-450"},
		Rules: []Rule{
			{"prerouting/sources", fmt.Sprintf("iifgroup %d jump sources", masq.CheckedGroup), "packets that enter by an attachment's link have to show its address"},
		},
	}
}

func sources() Chain {
	return Chain{Name: sourcesChain, Rules: []Rule{
		// The kernel itself drops packets to ::1 that enter by a link (ipv6_rcv in
		// net/ipv6/ip6_input.c), and to 127.0.0.0/8 only while route_localnet is 0, which
		// portmap sets to 1.
		{loopbackID, "ip daddr 127.0.0.0/8 counter drop", "the node's own services listen there, without authentication"},
		{"sources/own4", "iifname . ip saddr @sources4 return", "the attachment's own address"},
		{"sources/own6", "iifname . ip6 saddr @sources6 return", "the attachment's own address"},
		{"sources/link-local", fmt.Sprintf("ip6 saddr %s return", masq.ContainerLinkLocal), "neighbor discovery; each other source would be an entry of the node's neighbor table"},
		{"sources/unspecified", "ip6 saddr :: return", "duplicate address detection and multicast reports; never forwarded"},
		{"sources/link", "iifname @links continue", "the element of the link counts what the next rule drops"},
		{spoofedID, "counter drop", "an address that is not the attachment's"},
	}}
}

// preroutingNAT sees only the first packet of each flow: the kernel asks chains of type nat
// about no other packet (nf_nat_inet_fn in net/netfilter/nf_nat_core.c). Established packets
// cost nothing here. It comes before destination NAT (-100) of any program, so that rules
// match the addresses and ports of the packet as it was sent.
func preroutingNAT() Chain {
	return Chain{
		Name: preroutingNATChain,
		Hook: &Hook{"nat", "prerouting", "mangle"},
		Rules: []Rule{
			// This includes links of other plugins: containers on a bridge are not known by
			// their link, and a source can be forged there. What the node sends to itself
			// has a local source.
			{newLoopbackID, "ip daddr 127.0.0.0/8 fib saddr type != local counter drop", "no host but the node itself has a use for its loopback addresses (RFC 1122, section 3.2.1.3)"},
			{"prerouting/origin", "jump origin", "a new flow from a container enters by the container's link"},
			{"prerouting/helpers", "jump helpers", "a helper can be given to a flow with its first packet only"},
		},
	}
}

// origin drops what has the address of an attachment and enters by another link: the
// uplink, or a link that a container made in the node's network namespace. It would be
// translated as the attachment's. Packets that the node sends do not pass prerouting or
// forward first.
func origin() Chain {
	c := Chain{Name: originChain}
	for _, f := range families {
		c.Rules = append(c.Rules, Rule{
			"origin/own" + f.suffix,
			fmt.Sprintf("iifname . %s saddr @sources%s return", f.header, f.suffix),
			"the attachment's own link",
		})
	}
	for _, f := range families {
		c.Rules = append(c.Rules, Rule{
			otherLinkID + f.suffix,
			fmt.Sprintf("%s saddr @linked%s counter drop", f.header, f.suffix),
			"another host sends with the attachment's address",
		})
	}
	return c
}

// prerouting sees a connection that a helper redirects. The kernel asks no chain of type nat
// about it, and conntrack (-200) decides that it is one.
func prerouting(objects []Object) []Chain {
	if len(objects) == 0 {
		return nil
	}
	return []Chain{{
		Name: PreroutingChain,
		Hook: &Hook{"filter", "prerouting", "mangle"},
		Rules: []Rule{
			{toExpectedID, "ct state related ct status expected,dnat / expected,dnat jump expected", "the first packet of a connection that a helper redirects; its header still names the node"},
			{toFollowingID, "ct state related ct status expected,snat / expected,snat jump following", "the first packet of a connection that a helper translates as it translated the control connection"},
		},
	}}
}

func helpers(objects []Object, s Sources) Chain {
	c := Chain{Name: HelpersChain}
	for _, o := range objects {
		for _, f := range families {
			if o.IPv4Only && f.family != masq.IPv4 {
				continue
			}
			c.Rules = append(c.Rules, Rule{
				helperID(o.Name, f.suffix),
				fmt.Sprintf("%s saddr . %s dport @helper%s-%s ct helper set %q", f.header, o.Protocol, f.suffix, o.Name, o.Name),
				"the kernel assigns no helper by itself since Linux 6.0",
			})
		}
	}
	c.Rules = append(c.Rules, s.helpers()...)
	return c
}

func forward() Chain {
	return Chain{
		Name: "forward",
		Hook: &Hook{"filter", "forward", "mangle"},
		Rules: []Rule{
			{"forward/clamp", "tcp flags syn / fin,syn,rst jump clamp", "both ends say in their first packet how long a segment they take"},
			{"forward/exceptional", "ct state invalid,related,untracked jump exceptional", "one comparison that no packet of an established flow matches"},
		},
	}
}

// exceptional gets the packets about which the kernel asks no chain of type nat: packets
// without a flow, first packets of flows that a helper expects, and ICMP errors.
func exceptional() Chain {
	return Chain{Name: "exceptional", Rules: []Rule{
		{"exceptional/origin", "jump origin", "a packet from a container enters by the container's link"},
		relatedRule(),
		{"exceptional/invalid", "ct state invalid,untracked jump invalid", "packets without a flow are never translated"},
	}}
}

func clamp(sizes []string, s Sources) Chain {
	c := Chain{Name: ClampChain}
	for _, size := range sizes {
		to := segment(size)
		for _, f := range families {
			for _, side := range []string{"saddr", "daddr"} {
				c.Rules = append(c.Rules, Rule{
					clampID(size, side, f.suffix),
					fmt.Sprintf("%s %s @clamp%s-%s tcp option maxseg size set %s", f.header, side, f.suffix, size, to),
					"a router on the way may say nothing when a segment is too long for the next link",
				})
			}
		}
	}
	c.Rules = append(c.Rules, s.clamp()...)
	return c
}

// segment is what the MSS is set to for a clamp.
func segment(size string) string {
	if size == masq.ClampPMTU.String() {
		return "rt mtu"
	}
	return size
}

func invalid(s Sources) Chain {
	c := Chain{Name: invalidChain}
	for _, f := range families {
		c.Rules = append(c.Rules, Rule{
			invalidID + "drop" + f.suffix,
			fmt.Sprintf("%s saddr @invalid%s counter drop", f.header, f.suffix),
			"it would leave with the attachment's own address",
		})
	}
	c.Rules = append(c.Rules, s.invalid()...)
	return c
}

func postrouting(s Sources) Chain {
	c := Chain{
		Name: postroutingChain,
		// Just before the tables that others put at srcnat: the first translation
		// that is decided stands, and what is direct here is left to them.
		Hook: &Hook{"nat", "postrouting", "srcnat - 1"},
	}
	for _, f := range families {
		c.Rules = append(c.Rules, Rule{
			"postrouting/policy" + f.suffix,
			fmt.Sprintf("%s saddr vmap @policy%s", f.header, f.suffix),
			"one lookup finds the policy, however many attachments there are",
		})
	}
	c.Rules = append(c.Rules, s.postrouting()...)
	return c
}

// families spells the two families the ways that rules need them.
var families = []struct {
	family          masq.Family
	suffix          string
	header, nfproto string
}{
	{masq.IPv4, "4", "ip", "ipv4"},
	{masq.IPv6, "6", "ip6", "ipv6"},
}
