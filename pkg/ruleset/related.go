package ruleset

import (
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// relatedID is the ID of the rule that drops packets about flows of other attachments.
const relatedID = "related/foreign"

// related checks which flow a packet of an attachment is about. An ICMP error carries the
// packet that it reports. Conntrack attaches the error to the flow of that packet,
// whatever the error's source is (nf_conntrack_inet_error in
// net/netfilter/nf_conntrack_proto_icmp.c).
//
// The source check accepts the error, because its source is the attachment's address. An
// error about a flow of another container would be translated as that flow is, and could
// end the flow or slow it down. So one end of the flow must be the attachment.
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
		Rule{"related/link", "iifname @links continue", "the element of the link counts the packets that the next rule drops"},
		Rule{relatedID, "counter drop", "the packet is about a flow of another attachment"},
	)
	return c
}

// relatedRule jumps to the chain. Only forwarded packets are checked: the node accepts
// ICMP errors about its own flows from any address, since any router may send them.
func relatedRule() Rule {
	return Rule{"exceptional/related", fmt.Sprintf("iifgroup %d ct state related jump related", masq.CheckedGroup), "an ICMP error affects the flow that it names, which must be one of the attachment's"}
}
