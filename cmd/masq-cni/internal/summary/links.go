package summary

import (
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/compare"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// maxContainers is the number of containers whose network namespace the summary enters. A
// comparison there takes several requests. The command drift compares all containers.
const maxContainers = 100

// linksState returns the differences of links.
func linksState(s node.Snapshot) (*report.LinksState, error) {
	found, skipped, err := s.CompareLinks(maxContainers)
	if err != nil {
		return nil, err
	}
	faults, notChecked := compare.Split(found)
	compared := 0
	for _, r := range s.Records {
		if compare.PairOf(r) != nil {
			compared++
		}
	}
	return report.LinksStateOf(compared, len(notChecked)+skipped, report.ChangesOf(faults, s.Owners)), nil
}
