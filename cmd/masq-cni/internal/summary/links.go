package summary

import (
	"fmt"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/compare"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// maxContainers is the number of containers whose network namespace the summary enters. A
// comparison there takes several requests. The command drift compares all containers.
const maxContainers = 100

// linksState counts the differences of links, and describes the first.
func linksState(s node.Snapshot) (*report.LinksState, error) {
	found, skipped, err := s.CompareLinks(maxContainers)
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
