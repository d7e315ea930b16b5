package doctor

import "github.com/masq-cni/masq-cni/pkg/masq"

// policies returns the active policies of the masqueraded attachments, in their order.
func (n *Node) policies() ([]masq.Policy, error) {
	return read(n, "policies", func() (out []masq.Policy, err error) {
		node, err := n.nodePolicy()
		if err != nil {
			return nil, err
		}
		for _, p := range policiesOf(n.masqueraded(), node).Of {
			out = append(out, *p)
		}
		return out, nil
	})
}
