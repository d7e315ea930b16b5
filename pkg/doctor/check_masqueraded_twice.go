package doctor

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
)

var masqueradedTwice = Check{
	ID:       "masqueraded-twice",
	Title:    "A rule of another table masquerades containers too",
	Severity: report.SeverityError,
	Reads:    "chains of other tables with type nat and hook postrouting, and the chains that they jump to",
	Applies:  "attachments whose traffic is translated; rules that certainly match their addresses, without a mark or a set",
	Remedy:   "Configure the other program so that it does not masquerade these addresses.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		x, err := n.otherTables()
		if err != nil {
			return nil, err
		}
		var out []Finding
		for _, rules := range byBaseChain(n.doublyTranslated(x.SourceNAT)) {
			out = append(out, n.translatedBy(x, rules))
		}
		return out, nil
	},
}

// doublyTranslated returns the rules that matter. A rule after table inet masq that names no
// container, such as one that masquerades all packets of an uplink, matters only to containers
// that have direct destinations.
func (n *Node) doublyTranslated(all []nft.OtherRule) (out []nft.OtherRule) {
	for _, r := range all {
		if r.Priority >= masqPriority && !r.BySource {
			r.Sources = slices.DeleteFunc(slices.Clone(r.Sources), func(a netip.Addr) bool { return !n.hasDirect(a) })
		}
		if len(r.Sources) > 0 {
			out = append(out, r)
		}
	}
	return out
}

// byBaseChain groups rules. Some programs have a rule for each container.
func byBaseChain(all []nft.OtherRule) (out [][]nft.OtherRule) {
	for _, r := range all {
		same := func(g []nft.OtherRule) bool {
			return g[0].Family == r.Family && g[0].Table == r.Table && g[0].BaseChain == r.BaseChain
		}
		if i := slices.IndexFunc(out, same); i >= 0 {
			out[i] = append(out[i], r)
		} else {
			out = append(out, []nft.OtherRule{r})
		}
	}
	return out
}

// masqPriority is the priority of the chain of table inet masq that translates
// (ruleset.Hook: "srcnat - 1").
const masqPriority = 99

// hasDirect reports whether the policy of an address names destinations that are not
// translated.
func (n *Node) hasDirect(a netip.Addr) bool {
	i := n.Owners.Index(a)
	if i < 0 || n.AllRecords[i].Policy == nil {
		return false
	}
	p := n.AllRecords[i].Policy
	return p.EgressDirect || len(p.NonMasquerade) > 0
}

// translatedBy is the finding about the rules of one base chain.
func (n *Node) translatedBy(x *otherTables, rules []nft.OtherRule) Finding {
	r := &rules[0]
	sources, indices := n.addressesOf(rules)
	f := Finding{
		Severity: report.SeverityWarning,
		Object:   chainName(r.Family, r.Table, r.Chain),
		Message:  fmt.Sprintf("masquerades connections of %s that table inet masq leaves untranslated: hook %s, priority %d", n.containers(indices), r.Hook, r.Priority),
		Evidence: append(x.evidenceOf(r), Evidence{"source addresses that match", addressList(sources)}),
		Why:      "Direct destinations and other containers see an address of the node in place of the container's own.",
		Remedy: Remedy{
			Text:     "configure " + configuredBy(x.ownerOf(r)) + " so that it does not masquerade these addresses; the last command removes the rule until that program makes it again",
			Commands: []string{listChain(r.Family, r.Table, r.Chain), deleteRule(r.Family, r.Table, r.Chain, r.Handle)},
		},
	}
	if r.Priority < masqPriority {
		f.Severity = report.SeverityError
		f.Message = fmt.Sprintf("translates connections of %s before table inet masq: its priority is %d, that of table inet masq is %d", n.containers(indices), r.Priority, masqPriority)
		f.Why = "The other rule decides how these connections leave: the policies of masq-cni have no effect, such as egress addresses, source ports and direct destinations."
	}
	if len(rules) > 1 {
		f.Object = chainName(r.Family, r.Table, r.BaseChain)
		f.Evidence = append(f.Evidence, Evidence{"rules that translate containers, with the one shown", fmt.Sprint(len(rules))})
		f.Remedy.Text = "configure " + configuredBy(x.ownerOf(r)) + " so that it does not masquerade these addresses"
		f.Remedy.Commands = []string{"nft -a list table " + report.ShellQuote(r.Family) + " " + report.ShellQuote(r.Table)}
	}
	if strings.HasPrefix(x.ownerOf(r), "a CNI plugin") {
		f.Remedy.Text = "set ipMasq to false for the plugin that runs before masq in the network's configuration, and start its containers again: its DEL removes the rules"
		f.Remedy.Commands = f.Remedy.Commands[:1]
	}
	return f
}

// addressesOf returns the addresses of containers that rules concern, and the indices of their
// attachments.
func (n *Node) addressesOf(rules []nft.OtherRule) (all []netip.Addr, indices []int) {
	seen := map[int]bool{}
	for _, r := range rules {
		all = append(all, r.Sources...)
		for _, a := range r.Sources {
			if i := n.Owners.Index(a); i >= 0 {
				seen[i] = true
			}
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all), slices.Sorted(maps.Keys(seen))
}

// maxListed is the number of addresses that evidence lists.
const maxListed = 5

// addressList returns some addresses and the number of the others.
func addressList(all []netip.Addr) string {
	s := ""
	for i, a := range all {
		if i == maxListed {
			return s + fmt.Sprintf(" and %d more", len(all)-i)
		}
		if i > 0 {
			s += ", "
		}
		s += a.String()
	}
	return s
}
