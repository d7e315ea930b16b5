package daemon

import (
	"context"
	"fmt"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// readiness is the answer of /readyz.
type readiness struct {
	Ready bool `json:"ready"`
	// Reasons say why masqd is not ready, and what needs attention.
	Reasons []string `json:"reasons"`
	// Losses are recent losses, which masq-cni inspect cannot know.
	Losses report.Losses `json:"losses,omitzero"`
}

// readiness returns the present readiness of the daemon.
func (d *Daemon) readiness(ctx context.Context) readiness {
	shortages, losses := d.sampler.Shortages(ctx)
	notes := slices.Concat(d.bad.notes(), shortages, d.flowLog.Faults(), d.helpers.Notes(), unrepairedLinks(d.loop.UnrepairedLinks()), d.linkCheck.notes())
	r := readinessOf(d.loop.Stats(), d.conf.active(), notes)
	r.Losses = losses
	return r
}

// readinessOf returns the readiness of a daemon. The notes need attention, and do not make
// it unready.
func readinessOf(s reconcile.Stats, n reconcile.NodeConfig, notes []string) readiness {
	r := serviceReadiness(s, n)
	for _, m := range s.MissingEgress {
		switch {
		case m.Dropped:
		case m.Unused:
			r.Reasons = append(r.Reasons, missingEgress(m)+"; no attachment of the policy uses its family")
		default:
			r.Reasons = append(r.Reasons, missingEgress(m)+"; flows leave with the policy's other addresses")
		}
	}
	r.Reasons = append(r.Reasons, notes...)
	return r
}

func missingEgress(m ruleset.MissingEgress) string {
	return "policy " + m.Policy + ": the node does not have the egress address " + m.Address.String()
}

// serviceReadiness returns the readiness without what needs only attention.
func serviceReadiness(s reconcile.Stats, n reconcile.NodeConfig) readiness {
	r := readiness{Reasons: []string{}}
	if s.LastSync.IsZero() {
		r.Reasons = append(r.Reasons, "no sync has succeeded yet")
	}
	if s.Problem != "" {
		r.Reasons = append(r.Reasons, s.Problem)
	}
	for _, m := range s.MissingEgress {
		if m.Dropped {
			r.Reasons = append(r.Reasons, missingEgress(m)+"; the policy has no other address of this family: flows are dropped")
		}
	}
	// While an earlier valid configuration applies, an invalid one needs only attention.
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

// unrepairedLinks returns the note for differences of links that a sync could not repair.
func unrepairedLinks(left []veth.Difference) []string {
	if len(left) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("links differ from what ADD made, and cannot be repaired; differences: %d, the first: %s; see: masq-cni inspect drift", len(left), left[0])}
}
