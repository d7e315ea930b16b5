package doctor

import (
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// policies returns the active policies of the masqueraded attachments, in their order.
func (n *Node) policies() ([]masq.Policy, error) {
	return read(n, "policies", func() ([]masq.Policy, error) {
		records, err := store.Open(n.StateDir)
		if err != nil {
			return nil, err
		}
		node, err := records.Node()
		if err != nil {
			return nil, err
		}
		policy := masq.Default()
		if node != nil {
			policy = node.Policy
		}
		var out []masq.Policy
		for _, r := range n.masqueraded() {
			p := *r.Policy
			if p.Node {
				p = policy.For(p)
			}
			out = append(out, p)
		}
		return out, nil
	})
}
