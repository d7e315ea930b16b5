package ruleset

import (
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// These chains exist whatever the policies are. The fewest rules apply to every packet, more
// to every packet of an attachment, and most only to the first packet of a flow.

// preroutingEarly comes before defragmentation (-400), the raw tables of other programs
// (-300) and conntrack (-200). Otherwise fragments with a forged source could complete a
// datagram of another container, and forged packets could use its expectations. The rules
// match only fields that fragments have too: the interface and the addresses.
func preroutingEarly() Chain {
	return Chain{
		Name: "prerouting-early",
		Hook: &Hook{"filter", "prerouting", "-450"},
		Rules: []Rule{
			{"prerouting/sources", fmt.Sprintf("iifgroup %d jump sources", masq.CheckedGroup), "packets that enter by an attachment's link must have its address"},
		},
	}
}

func sources() Chain {
	return Chain{Name: sourcesChain, Rules: []Rule{
		// The kernel drops packets to ::1 that enter by a link (ipv6_rcv in
		// net/ipv6/ip6_input.c). It drops packets to 127.0.0.0/8 only while route_localnet
		// is 0, and portmap sets it to 1.
		{loopbackID, "ip daddr 127.0.0.0/8 counter drop", "services of the node listen on loopback addresses without authentication"},
		{"sources/own4", "iifname . ip saddr @sources4 return", "the attachment's own address"},
		{"sources/own6", "iifname . ip6 saddr @sources6 return", "the attachment's own address"},
		{"sources/link-local", fmt.Sprintf("ip6 saddr %s return", masq.ContainerLinkLocal), "neighbor discovery; other link-local sources would fill the node's neighbor table"},
		{"sources/unspecified", "ip6 saddr :: return", "duplicate address detection and multicast reports; never forwarded"},
		{"sources/link", "iifname @links continue", "the element of the link counts the packets that the next rule drops"},
		{spoofedID, "counter drop", "the source is not an address of the attachment"},
	}}
}

// preroutingNAT sees only the first packet of each flow: for other packets the kernel does
// not call chains of type nat (nf_nat_inet_fn in net/netfilter/nf_nat_core.c), so
// established flows pay nothing. The chain comes before destination NAT (-100) of other
// programs, so that rules match the addresses and ports of the packet as it was sent.
func preroutingNAT() Chain {
	return Chain{
		Name: preroutingNATChain,
		Hook: &Hook{"nat", "prerouting", "mangle"},
		Rules: []Rule{
			// This includes links of other plugins. The ruleset does not know which
			// container on a bridge sent a packet, and containers there can forge sources.
			// Packets from the node to itself have a local source.
			{newLoopbackID, "ip daddr 127.0.0.0/8 fib saddr type != local counter drop", "only the node itself may send to its loopback addresses (RFC 1122, section 3.2.1.3)"},
			{"prerouting/origin", "jump origin", "a new flow from a container must enter by the container's link"},
			{"prerouting/helpers", "jump helpers", "a helper can be assigned only with the first packet of a flow"},
		},
	}
}

// origin drops packets that have an attachment's source address and enter by another link:
// the uplink, or a link that a container made in the node's network namespace. They would
// be translated as the attachment's. Packets that the node sends do not pass prerouting or
// forward.
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
			"the source is an attachment's address, and the packet entered by another link",
		})
	}
	return c
}

// prerouting sees connections that a helper redirects. The kernel calls no chain of type
// nat for them, and only conntrack (-200) recognizes them.
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
				"since Linux 6.0 the kernel assigns helpers by rules only",
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
			{"forward/clamp", "tcp flags syn / fin,syn,rst jump clamp", "SYN packets of both directions carry the MSS option"},
			{"forward/exceptional", "ct state invalid,related,untracked jump exceptional", "one comparison, which no packet of an established flow matches"},
		},
	}
}

// exceptional gets the packets for which the kernel calls no chain of type nat: packets
// without a flow, first packets of flows that a helper expects, and ICMP errors.
func exceptional() Chain {
	return Chain{Name: "exceptional", Rules: []Rule{
		{"exceptional/origin", "jump origin", "a packet from a container must enter by the container's link"},
		relatedRule(),
		{"exceptional/invalid", "ct state invalid,untracked jump invalid", "packets without a flow are never translated"},
	}}
}

// clamp lowers the MSS option of SYN packets. Several rules may match a packet: the smallest
// MSS remains, because the kernel never raises the option (nft_exthdr_tcp_set_eval in
// net/netfilter/nft_exthdr.c). narrowed are the IDs of policies with mssClamps.
func clamp(sizes, narrowed []string, s Sources) Chain {
	c := Chain{Name: ClampChain}
	for _, size := range sizes {
		to := segment(size)
		for _, f := range families {
			for _, side := range []string{"saddr", "daddr"} {
				c.Rules = append(c.Rules, Rule{
					clampID(size, side, f.suffix),
					fmt.Sprintf("%s %s @clamp%s-%s tcp option maxseg size set %s", f.header, side, f.suffix, size, to),
					"a router on the path may drop long segments without an ICMP error",
				})
			}
		}
	}
	for _, id := range narrowed {
		for _, f := range families {
			for _, e := range ends {
				c.Rules = append(c.Rules, Rule{
					mssClampID(id, e.own, f.suffix),
					fmt.Sprintf("ct %s %s saddr @%s %s", e.own, f.header, SetName{AttachedSet, f.family, id}, setMSS(e.other, f.header, f.family, id)),
					"the path to the destination is narrower than the node's route to it",
				})
			}
		}
	}
	c.Rules = append(c.Rules, s.clamp()...)
	return c
}

// ends are the two ends of a flow: the direction of conntrack whose source is the container,
// and the direction whose source is the other end. SYN and SYN-ACK belong to the same flow, so a
// rule matches both. The source of the reply is the destination after destination NAT. (With
// the header's address as the key of the map, nft 1.0.6 lists the rule wrongly.)
var ends = []struct{ own, other string }{{"original", "reply"}, {"reply", "original"}}

// setMSS returns the statement that lowers the MSS to the one of the other end. It does nothing
// if the map does not have the address.
func setMSS(other, header string, f masq.Family, policy string) string {
	return fmt.Sprintf("tcp option maxseg size set ct %s %s saddr map @%s", other, header, SetName{MSSMap, f, policy})
}

// segment returns the MSS that a clamp sets, in nft's notation.
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
			"the packet would leave untranslated, with the attachment's address",
		})
	}
	c.Rules = append(c.Rules, s.invalid()...)
	return c
}

func postrouting(s Sources) Chain {
	c := Chain{
		Name: postroutingChain,
		// The priority is one before srcnat, which other programs use. The first
		// translation that applies is final, and flows to direct destinations are left to
		// those programs.
		Hook: &Hook{"nat", "postrouting", "srcnat - 1"},
	}
	for _, f := range families {
		c.Rules = append(c.Rules, Rule{
			"postrouting/policy" + f.suffix,
			fmt.Sprintf("%s saddr vmap @policy%s", f.header, f.suffix),
			"one lookup finds the policy, for any number of attachments",
		})
	}
	c.Rules = append(c.Rules, s.postrouting()...)
	return c
}

// families has the words for each family that rules need.
var families = []struct {
	family          masq.Family
	suffix          string
	header, nfproto string
}{
	{masq.IPv4, "4", "ip", "ipv4"},
	{masq.IPv6, "6", "ip6", "ipv6"},
}
