package doctor

import (
	"context"

	"github.com/masq-cni/masq-cni/pkg/report"
)

var packetDropped = Check{
	ID:       "packet-dropped",
	Title:    "A rule of the node drops or rejects the packets of the probe",
	Severity: report.SeverityError,
	Reads:    "a trace of the probe's packets, their answers and the ICMP errors about them through all tables of nf_tables, those of iptables-nft included",
	Applies:  "with --to; connections that fail, and ICMP errors that tell an MTU",
	Remedy:   "Accept the packets in the chain that drops them.",
	Cost:     Probe,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		p, err := n.tracedProbe(ctx)
		if p == nil || err != nil {
			return nil, err
		}
		var out []Finding
		for i := range p.Paths {
			x := &p.Paths[i]
			for _, group := range byStep(p.ended(x)) {
				out = append(out, p.Trace.packetDropped(group, p.from(), x.target()))
			}
		}
		return out, p.Trace.incompleteError()
	},
}

// tracedProbe returns the probe, or nil without one. The error says why its packets could not
// be traced.
func (n *Node) tracedProbe(ctx context.Context) (*ProbeFacts, error) {
	p, err := n.Probe(ctx)
	if p == nil || err != nil {
		return nil, err
	}
	return p, p.Trace.Err
}
