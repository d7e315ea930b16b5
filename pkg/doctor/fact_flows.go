package doctor

import (
	"context"
	"errors"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// flowFacts has what the checks need of the node's flows. All checks share one dump of the
// conntrack table. No flow is kept: the memory grows with the attachments and is bounded.
type flowFacts struct {
	// Flows is the number of flows.
	Flows int
	DNS   dnsFlows
	// Incoming is the number of flows to each attachment.
	Incoming []int
	Helpers  helperFlows

	owners *report.Owners
}

// newFlowFacts returns empty facts. Each sum has a line here and in add.
func newFlowFacts(n *Node) *flowFacts {
	return &flowFacts{DNS: newDNSFlows(n), Incoming: make([]int, len(n.AllRecords)), Helpers: newHelperFlows(n), owners: n.Owners}
}

// add counts a flow, which is valid until add returns. It allocates nothing for a flow.
func (x *flowFacts) add(f *conntrack.Flow) {
	x.Flows++
	x.DNS.add(f)
	if to := x.owners.Index(f.Reply.Src); to >= 0 {
		x.Incoming[to]++
	}
	x.Helpers.add(f)
}

// CountFlows returns a function for each flow of a dump that the caller makes, so that the
// checks make none. After a complete dump the caller calls done. A second call begins again.
func (n *Node) CountFlows() (add func(*conntrack.Flow), done func()) {
	x := newFlowFacts(n)
	return x.add, func() { n.counted = x }
}

// flowFacts reads the conntrack table.
func (n *Node) flowFacts(ctx context.Context) (*flowFacts, error) {
	return read(n, "flows", func() (*flowFacts, error) {
		if n.counted != nil {
			return n.counted, nil
		}
		c, err := conntrack.Open()
		if err != nil {
			return nil, err
		}
		defer func() { _ = c.Close() }()
		x := newFlowFacts(n)
		for f, err := range c.Dump(ctx, conntrack.Filter{}) {
			// An interrupted dump may lack a few flows, or have them twice.
			if err != nil && !errors.Is(err, conntrack.ErrInterrupted) {
				return nil, err
			}
			if err == nil {
				x.add(f)
			}
		}
		return x, nil
	})
}
