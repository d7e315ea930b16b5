package doctor

import (
	"context"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
)

var translatedElsewhereCheck = Check{
	ID:       "translated-elsewhere",
	Title:    "A rule of another table translates the container's address",
	Severity: report.SeverityError,
	Reads:    "a trace of the probe's packets",
	Applies:  "with --to, for a container; rules that masqueraded-twice has not found, such as those with a set",
	Remedy:   "Configure the other program so that it does not translate the container's address.",
	Cost:     Probe,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		p, err := n.tracedProbe(ctx)
		if p == nil || err != nil || p.Record == nil || p.Record.Policy == nil {
			return nil, err
		}
		known, err := n.otherTables()
		if err != nil {
			return nil, err
		}
		var out []Finding
		for i := range p.Paths {
			x := &p.Paths[i]
			packet, step := translatedElsewhere(p.Trace.of(x.Target.Address.Addr()))
			if step == nil || slices.ContainsFunc(known.SourceNAT, func(r nft.OtherRule) bool {
				return r.Family == step.Family && r.Table == step.Table && r.Chain == step.Chain && r.Handle == step.Handle
			}) {
				continue
			}
			out = append(out, p.Trace.translatedBy(packet, step, p.from(), x.target()))
		}
		return out, p.Trace.incompleteError()
	},
}
