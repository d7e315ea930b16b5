package doctor

import (
	"context"
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
)

var icmpDropped = Check{
	ID:       "icmp-dropped",
	Title:    "A rule of another table drops ICMP that path MTU discovery needs",
	Severity: report.SeverityWarning,
	Reads:    "chains of other tables with type filter, and the chains that they jump to",
	Applies:  "attachments of the family exist; rules that certainly drop ICMP \"fragmentation needed\" or ICMPv6 \"packet too big\", which no rule before them accepts",
	Remedy:   "Accept these messages before the rule.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		x, err := n.otherTables()
		if err != nil {
			return nil, err
		}
		var v4, v6 bool
		for _, a := range n.translatedAddresses() {
			v4, v6 = v4 || a.Is4(), v6 || a.Is6()
		}
		var out []Finding
		for i := range x.ICMPDrops {
			if r := &x.ICMPDrops[i]; r.IPv4 && v4 || r.IPv6 && v6 {
				out = append(out, icmpDroppedBy(x, r, r.IPv4 && v4, r.IPv6 && v6))
			}
		}
		return out, nil
	},
}

// icmpDroppedBy is the finding about a rule.
func icmpDroppedBy(x *otherTables, r *nft.OtherRule, v4, v6 bool) Finding {
	const message4, message6 = "ICMP \"fragmentation needed\"", "ICMPv6 \"packet too big\""
	what := message4
	accept := []string{"icmp type destination-unreachable icmp code frag-needed accept"}
	switch {
	case v4 && v6:
		what = message4 + " and " + message6
		accept = append(accept, "icmpv6 type packet-too-big accept")
	case v6:
		what, accept = message6, []string{"icmpv6 type packet-too-big accept"}
	}
	verb := "drops"
	if r.Action == "reject" {
		verb = "rejects"
	}
	f := Finding{
		Severity: report.SeverityWarning,
		Object:   chainName(r.Family, r.Table, r.Chain),
		Message:  fmt.Sprintf("%s %s: hook %s, priority %d", verb, what, r.Hook, r.Priority),
		Evidence: x.evidenceOf(r),
		Why:      "A connection of a container whose path is narrower than its ends assume stops after the first large packets.",
		Remedy: Remedy{
			Text:     "have " + configuredBy(x.ownerOf(r)) + " accept these messages before that rule; the commands do so until that program loads its rules again",
			Commands: []string{listChain(r.Family, r.Table, r.Chain)},
		},
	}
	switch r.Hook {
	case "input":
		f.Why = "The node does not learn the MTU of paths: tunnels that carry packets of containers, and its own connections, lose large packets."
	case "output":
		f.Why = "The node cannot tell containers and servers that a packet is larger than the MTU of a link: connections stop after the first large packets."
	}
	for _, a := range accept {
		f.Remedy.Commands = append(f.Remedy.Commands, "nft insert rule "+report.ShellQuote(r.Family)+" "+report.ShellQuote(r.Table)+" "+report.ShellQuote(r.BaseChain)+" "+a)
	}
	return f
}
