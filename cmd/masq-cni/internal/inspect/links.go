package inspect

import (
	"errors"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/compare"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// compareAttachment compares the rules and the link of the attachment with index i with
// their desired state.
func compareAttachment(s node.Snapshot, i int) ([]compare.Difference, error) {
	w, err := veth.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Close() }()
	found, err := node.QueryRules(func(c *nft.Conn) ([]compare.Difference, error) {
		return compare.Policy(c, s.Desired().Attachments[i], w.HasAddress)
	})
	if err != nil {
		return nil, err
	}
	one := s.Records[i : i+1]
	onNode, errNode := compare.NodeSide(w, one)
	inContainer, errContainer := compare.ContainerSide(w, one)
	return append(append(found, onNode...), inContainer...), errors.Join(errNode, errContainer)
}
