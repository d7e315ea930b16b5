package report

import (
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/nft"
)

// Firewall is a base chain of another table that can drop packets of containers.
type Firewall struct {
	Family   string `json:"family"`
	Table    string `json:"table"`
	Chain    string `json:"chain"`
	Hook     string `json:"hook"`
	Priority int    `json:"priority"`
	Policy   string `json:"policy"` // "accept" or "drop"
	// DropRules is the number of rules that drop or reject, in the chain and in the
	// chains that it jumps to.
	DropRules int `json:"dropRules"`
	// Owner names the process that owns the table, or else the program that makes the chain, by
	// the name of the chain or of its table.
	Owner string `json:"owner,omitempty"`
}

// FirewallsOf converts base chains.
func FirewallsOf(all []nft.BaseChain) []Firewall {
	out := []Firewall{}
	for _, c := range all {
		f := Firewall{Family: c.Family, Table: c.Table, Chain: c.Chain, Hook: c.Hook, Priority: c.Priority, Policy: "accept", DropRules: c.Rules, Owner: c.Owner}
		if c.Drop {
			f.Policy = "drop"
		}
		out = append(out, f)
	}
	return out
}

// String returns family, table and chain, as the arguments of nft list chain.
func (f Firewall) String() string { return f.Family + " " + f.Table + " " + f.Chain }

func (f Firewall) rules() string {
	if f.DropRules == 0 {
		return ""
	}
	return ", " + Plural(f.DropRules, "rule") + " to drop"
}

// owner returns ", owner NAME", or "" if the owner is not known.
func (f Firewall) owner() string {
	if f.Owner == "" {
		return ""
	}
	return ", owner " + CleanText(f.Owner)
}

// evaluateFirewalls reports chains with the policy drop, which drop packets that no rule of
// the chain accepts. A healthy node may have such chains, so it is a warning.
func (n *Node) evaluateFirewalls() {
	for _, f := range n.Firewalls {
		if f.Policy != "drop" || n.Attachments.Total == 0 {
			continue
		}
		evidence := []Evidence{{"chain " + f.String(), fmt.Sprintf("hook %s, priority %d, policy %s%s", f.Hook, f.Priority, f.Policy, f.rules())}}
		if f.Owner != "" {
			evidence = append(evidence, Evidence{"owner of the chain, by its name or its table", f.Owner})
		}
		n.Report(NewProblem(
			SeverityWarning, KindFirewall, fmt.Sprintf("table %s %s, chain %s", f.Family, CleanText(f.Table), CleanText(f.Chain)),
			fmt.Sprintf("can drop traffic of containers: hook %s, priority %d, policy drop%s%s; packets that no rule there accepts are dropped", f.Hook, f.Priority, f.rules(), f.owner()),
			Cause{
				Evidence: evidence,
				Remedy: Remedy{
					"if connections fail, accept the containers' addresses there",
					[]string{"nft list chain " + ShellQuote(f.Family) + " " + ShellQuote(f.Table) + " " + ShellQuote(f.Chain)},
				},
			},
		))
	}
}
