package summary

import (
	"cmp"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/compare"
	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// MaxContainers is the number of containers whose network namespace inspect enters, for
// which each takes several requests. doctor and inspect drift enter all.
const MaxContainers = 100

// linksState returns the differences of links.
func linksState(s node.Snapshot, o doctor.Options) (*report.LinksState, error) {
	found, skipped, err := s.CompareLinks(cmp.Or(o.MaxContainers, len(s.Records)), o.Only...)
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
