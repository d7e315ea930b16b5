package doctor

import (
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// activePolicies has the active policies of the node.
type activePolicies struct {
	// Of has the policy of each attachment of AllRecords, nil for an attachment without one.
	Of []*masq.Policy
	// Sources is the policy of sourceCIDRs, nil without these.
	Sources *masq.Policy
}

// all calls f with each policy. attachment is an index of AllRecords, or -1 for sourceCIDRs.
func (p *activePolicies) all(f func(attachment int, p *masq.Policy)) {
	for i, x := range p.Of {
		if x != nil {
			f(i, x)
		}
	}
	if p.Sources != nil {
		f(-1, p.Sources)
	}
}

// activePolicies returns the active policies.
func (n *Node) activePolicies() (*activePolicies, error) {
	return read(n, "active policies", func() (*activePolicies, error) {
		node, err := n.nodePolicy()
		if err != nil {
			return nil, err
		}
		return policiesOf(n.AllRecords, node), nil
	})
}

// nodePolicy returns the node's policy, or nil without one.
func (n *Node) nodePolicy() (*store.Node, error) {
	return read(n, "policy of the node", func() (*store.Node, error) {
		records, err := store.Open(n.StateDir)
		if err != nil {
			return nil, err
		}
		return records.Node()
	})
}

// policiesOf returns the active policies of records. node is the node's policy, or nil.
func policiesOf(records []store.Record, node *store.Node) *activePolicies {
	policy := masq.Default()
	out := &activePolicies{Of: make([]*masq.Policy, len(records))}
	if node != nil {
		policy = node.Policy
		policy.Node = true
		if len(node.Sources) > 0 {
			out.Sources = &policy
		}
	}
	for i := range records {
		p := records[i].Policy
		if p != nil && p.Node {
			active := policy.For(*p)
			p = &active
		}
		out.Of[i] = p
	}
	return out
}
