package inspect

import (
	"errors"
	"fmt"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/compare"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// maxContainers is the number of containers whose network namespace the summary enters. A
// comparison there takes several requests. The command drift compares all containers.
const maxContainers = 100

// compareLinks compares the node's ends of all links that the plugin made, and the
// containers' ends of the first links. skipped is the number of containers' ends that it
// does not compare.
func compareLinks(s node.Snapshot, maxContainers int) (found []compare.Difference, skipped int, err error) {
	w, err := veth.Open()
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = w.Close() }()
	var wired []store.Record
	for _, r := range s.Records {
		if compare.PairOf(r) != nil {
			wired = append(wired, r)
		}
	}
	entered := wired[:min(len(wired), maxContainers)]
	onNode, errNode := compare.NodeSide(w, wired)
	inContainer, errContainer := compare.ContainerSide(w, entered)
	return append(onNode, inContainer...), len(wired) - len(entered), errors.Join(errNode, errContainer)
}

// linksState counts the differences of links, and describes the first.
func linksState(s node.Snapshot) (*report.LinksState, error) {
	found, skipped, err := compareLinks(s, maxContainers)
	if err != nil {
		return nil, err
	}
	faults, notChecked := compare.Split(found)
	state := &report.LinksState{Differences: len(faults), NotChecked: len(notChecked) + skipped}
	for _, r := range s.Records {
		if compare.PairOf(r) != nil {
			state.Compared++
		}
	}
	if len(faults) > 0 {
		first := report.ChangesOf(faults[:1], s.Owners)[0]
		state.First = fmt.Sprintf("%s %s: %s", first.Kind, first.Name, first.Found)
		if first.Pod != "" {
			state.First = first.Pod + ": " + state.First
		}
	}
	return state, nil
}

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
