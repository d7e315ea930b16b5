package main

import (
	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// readiness is the answer of /readyz.
type readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"` // why not, or what needs attention
	// Losses are recent: masq-cni inspect cannot know of them.
	Losses report.Losses `json:"losses,omitzero"`
}

// ready joins them. Source ports that run out are a reason to look, not one to be taken
// out of service.
func ready(s reconcile.Stats, n reconcile.Node, shortage []string) readiness {
	r := serviceable(s, n)
	for _, m := range s.MissingEgress {
		switch {
		case m.Dropped:
		case m.Unused:
			r.Reasons = append(r.Reasons, missingEgress(m)+"; no attachment of the policy uses its family")
		default:
			r.Reasons = append(r.Reasons, missingEgress(m)+"; flows leave with the others")
		}
	}
	r.Reasons = append(r.Reasons, shortage...)
	return r
}

func missingEgress(m ruleset.MissingEgress) string {
	return "policy " + m.Policy + ": the node does not have the egress address " + m.Address.String()
}

func serviceable(s reconcile.Stats, n reconcile.Node) readiness {
	r := readiness{Reasons: []string{}}
	if s.LastSync.IsZero() {
		r.Reasons = append(r.Reasons, "no sync has succeeded yet")
	}
	if s.Problem != "" {
		r.Reasons = append(r.Reasons, s.Problem)
	}
	for _, m := range s.MissingEgress {
		if m.Dropped {
			r.Reasons = append(r.Reasons, missingEgress(m)+"; no other of its family is left: flows are dropped")
		}
	}
	// A faulty configuration with a good one before it is a reason to look, not one
	// to be taken out of service.
	if n.Fault != "" {
		r.Reasons = append(r.Reasons, "configuration: "+n.Fault)
		if !n.Read.IsZero() {
			r.Ready = len(r.Reasons) == 1
			return r
		}
	}
	r.Ready = len(r.Reasons) == 0
	return r
}
