package doctor

import (
	"context"
	"fmt"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
)

var connectionsDropped = Check{
	ID:       "connections-dropped",
	Title:    "A rule of another table drops connections of containers",
	Severity: report.SeverityError,
	Reads:    "chains of other tables with type filter and hook prerouting, forward or postrouting, and the chains that they jump to",
	Applies:  "attachments whose traffic is translated; rules that certainly drop or reject their new TCP connections to all destinations, or the answers, without a mark or a set; with --to, rules that packet-dropped has not found",
	Remedy:   "Accept the addresses of the containers before the rule.",
	Cost:     Cheap,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		x, err := n.otherTables()
		if err != nil || len(x.ConnectionDrops) == 0 {
			return nil, err
		}
		// Without a trace, packet-dropped says why, and names no rule.
		p, _ := n.tracedProbe(ctx)
		var out []Finding
		for _, rules := range byBaseChain(notTraced(x.ConnectionDrops, p)) {
			out = append(out, n.droppedBy(x, rules))
		}
		return out, nil
	},
}

// notTraced returns the rules that ended no packet of a container's probe. The finding of
// packet-dropped names the other rules, and shows the packets.
func notTraced(all []nft.OtherRule, p *ProbeFacts) []nft.OtherRule {
	if p == nil || p.Record == nil {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(r nft.OtherRule) bool {
		for i := range p.Paths {
			for _, group := range byStep(p.ended(&p.Paths[i])) {
				steps := group[0].Steps
				s := &steps[len(steps)-1]
				if r.IsRule(nft.OtherRule{Family: s.Family, Table: s.Table, Chain: s.Chain, Handle: s.Handle}) {
					return true
				}
			}
		}
		return false
	})
}

// droppedBy is the finding about the rules of one base chain.
func (n *Node) droppedBy(x *otherTables, rules []nft.OtherRule) Finding {
	r := &rules[0]
	addresses, indices := n.addressesOf(rules)
	verb := "drops"
	if r.Action == "reject" {
		verb = "rejects"
	}
	what := "new TCP connections of"
	if r.Answers {
		what = "the answers to TCP connections of"
	}
	f := Finding{
		Severity: report.SeverityError,
		Object:   chainName(r.Family, r.Table, r.Chain),
		Message:  fmt.Sprintf("%s %s %s: hook %s, priority %d", verb, what, n.containers(indices), r.Hook, r.Priority),
		Evidence: append(x.evidenceOf(r), Evidence{"addresses of containers that match", addressList(addresses)}),
		Why:      "Connections of these containers to destinations beyond the node fail. An accept in table inet masq does not override the rule.",
		Remedy: Remedy{
			Text:     "have " + configuredBy(x.ownerOf(r)) + " accept these addresses before that rule; the last command removes the rule until that program makes it again",
			Commands: []string{listChain(r.Family, r.Table, r.Chain), deleteRule(r.Family, r.Table, r.Chain, r.Handle)},
		},
	}
	if len(rules) > 1 {
		f.Object = chainName(r.Family, r.Table, r.BaseChain)
		f.Evidence = append(f.Evidence, Evidence{"rules that drop connections of containers, with the one shown", fmt.Sprint(len(rules))})
		f.Remedy.Text = "have " + configuredBy(x.ownerOf(r)) + " accept these addresses before those rules"
		f.Remedy.Commands = []string{"nft -a list table " + report.ShellQuote(r.Family) + " " + report.ShellQuote(r.Table)}
	}
	return f
}
