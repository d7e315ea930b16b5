package report

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Rule is a rule of table inet masq, or of the table of masqd's helpers: its desired text and its
// observed state.
type Rule struct {
	Table string `json:"table"` // "masq" or "masq-helpers", both of family inet
	Chain string `json:"chain"`
	// ID is the rule's comment in the kernel. It is also in the source line that makes the
	// rule.
	ID   string `json:"id"`
	Text string `json:"text"` // in nft's notation; empty for an unexpected rule
	Why  string `json:"why"`
	// State is "ok", "missing", "changed" (or out of place) or "unexpected".
	State  string `json:"state"`
	Handle uint64 `json:"handle,omitempty"` // for `nft -a` and `nft delete rule`
	// Counts is true if the rule has a counter. For rules of a policy, Packets is the
	// number of flows, since only the first packet of a flow passes them.
	Counts  bool   `json:"counts"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// States of a Rule.
const (
	OK         = "ok"
	Missing    = "missing"
	Changed    = "changed"
	Unexpected = "unexpected"
)

// RulesOf joins desired rules, observed rules and differences. Rules are in the order of the
// table; unexpected rules are last in their chain. Rules of pending attachments are "ok" if
// they exist, and omitted otherwise.
func RulesOf(d Desired, counted []nft.CountedRule, changes []nft.Difference) []Rule {
	return rulesOf(ruleset.Name, d.Table, d.Pending, counted, changes)
}

// HelperRulesOf joins the rules that the table of masqd's helpers should have with its observed
// rules. masqd alone can change the table, so that they differ only while it applies a change.
// listeners are the elements of the table's ListenerSet.
func HelperRulesOf(d Desired, listeners []nft.HelperElement, counted []nft.CountedRule) []Rule {
	if len(counted) == 0 {
		return nil // the table does not exist
	}
	at := map[masq.Family]ruleset.Listeners{}
	for _, e := range listeners {
		if e.Kind != ruleset.ListenerSet {
			continue
		}
		f := masq.FamilyOf(e.Key.Addr.Addr())
		l := at[f]
		if e.Key.Proto == unix.IPPROTO_TCP {
			l.TCP = e.Key.Addr
		} else {
			l.UDP = e.Key.Addr
		}
		at[f] = l
	}
	want := ruleset.HelperTable(d.Attachments, d.Sources, d.Egress, at, ruleset.HelperElements{})
	return rulesOf(ruleset.HelperTableName, want, ruleset.Table{}, counted, nil)
}

func rulesOf(table string, wanted, pending ruleset.Table, counted []nft.CountedRule, changes []nft.Difference) []Rule {
	type key struct{ chain, id string }
	wrong := map[key]bool{}
	for _, x := range changes {
		if x.Kind == nft.KindRule && x.Reason != masq.Unexpected {
			wrong[key{x.Parent, x.Object}] = true
		}
	}
	pendingRules := map[key]ruleset.Rule{}
	for _, c := range pending.Chains {
		for _, r := range c.Rules {
			pendingRules[key{c.Name, r.ID}] = r
		}
	}
	have := map[string][]nft.CountedRule{} // by chain
	var order []string
	desired := map[string]ruleset.Chain{}
	for _, c := range wanted.Chains {
		order = append(order, c.Name)
		desired[c.Name] = c
	}
	for _, r := range counted {
		if _, ok := desired[r.Chain]; !ok && have[r.Chain] == nil {
			order = append(order, r.Chain)
		}
		have[r.Chain] = append(have[r.Chain], r)
	}
	out := []Rule{}
	for _, name := range order {
		rest := have[name]
		for _, r := range desired[name].Rules {
			x := Rule{Table: table, Chain: name, ID: r.ID, Text: r.Text, Why: r.Why, State: Missing}
			i := slices.IndexFunc(rest, func(k nft.CountedRule) bool { return k.ID == r.ID })
			if i >= 0 {
				x.found(rest[i])
				rest = slices.Delete(slices.Clone(rest), i, i+1)
				if wrong[key{name, r.ID}] {
					x.State = Changed
				}
			}
			out = append(out, x)
		}
		for _, k := range rest {
			x := Rule{Table: table, Chain: name, ID: k.ID, Why: "it is not part of the desired state"}
			if r, ok := pendingRules[key{name, k.ID}]; ok {
				x.Text, x.Why = r.Text, r.Why
			}
			x.found(k)
			if x.Text == "" {
				x.State = Unexpected
			}
			out = append(out, x)
		}
	}
	return out
}

func (x *Rule) found(k nft.CountedRule) {
	x.State, x.Handle, x.Counts, x.Packets, x.Bytes = OK, k.Handle, k.Counts, k.Packets, k.Bytes
}
