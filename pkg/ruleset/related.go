package ruleset

import (
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// relatedID is the ID of the rule that drops a packet about the flow of another attachment.
const relatedID = "related/foreign"

// related checks which flow a packet of an attachment is about. An ICMP error carries the
// packet that it reports, and conntrack attaches the error to the flow of that packet,
// whoever sends it (nf_conntrack_inet_error in net/netfilter/nf_conntrack_proto_icmp.c).
// The error's own source is the attachment's, so the source check accepts it. An error
// about another container's flow would be translated as that flow is, and end or slow it
// at the far end. The flow's addresses decide: one of its ends has to be the attachment.
func related() Chain {
	c := Chain{Name: relatedChain}
	for _, f := range families {
		for _, direction := range []string{"original", "reply"} {
			c.Rules = append(c.Rules, Rule{
				"related/" + direction + f.suffix,
				fmt.Sprintf("iifname . ct %s %s saddr @sources%s return", direction, f.header, f.suffix),
				"a flow of the attachment",
			})
		}
	}
	c.Rules = append(c.Rules,
		Rule{"related/link", "iifname @links continue", "the element of the link counts what the next rule drops"},
		Rule{relatedID, "counter drop", "it is about a flow that is not the attachment's"},
	)
	return c
}

// relatedRule leads to the chain. Only forwarded packets are checked: the node believes
// ICMP errors about its own flows from any address, since any router may send them.
func relatedRule() Rule {
	return Rule{"exceptional/related", fmt.Sprintf("iifgroup %d ct state related jump related", masq.CheckedGroup), "an ICMP error acts on the flow that it names, which has to be one of the attachment's"}
}
