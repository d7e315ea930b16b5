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

// maxContainers is the number of containers that the node at a glance enters: comparing
// one takes several requests in its network namespace. inspect drift compares all.
const maxContainers = 100

// compareLinks compares the node's ends of all links that the plugin made, and the containers'
// ends of the first ones. Skipped is how many containers' ends were left out.
func compareLinks(v node.Snapshot, containers int) (found []compare.Difference, skipped int, err error) {
	w, err := veth.Open()
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = w.Close() }()
	var wired []store.Record
	for _, r := range v.Records {
		if compare.PairOf(r) != nil {
			wired = append(wired, r)
		}
	}
	node, err := compare.NodeSide(w, wired)
	entered := wired[:min(len(wired), containers)]
	container, errContainer := compare.ContainerSide(w, entered)
	return append(node, container...), len(wired) - len(entered), errors.Join(err, errContainer)
}

// linksState sums the comparison of links up.
func linksState(v node.Snapshot) (*report.LinksState, error) {
	found, skipped, err := compareLinks(v, maxContainers)
	if err != nil {
		return nil, err
	}
	faults, notChecked := compare.Split(found)
	s := &report.LinksState{Differences: len(faults), NotChecked: len(notChecked) + skipped}
	for _, r := range v.Records {
		if compare.PairOf(r) != nil {
			s.Compared++
		}
	}
	if len(faults) > 0 {
		first := report.ChangesOf(faults[:1], v.Owners)[0]
		s.First = fmt.Sprintf("%s %s: %s", first.Kind, first.Name, first.Found)
		if first.Pod != "" {
			s.First = first.Pod + ": " + s.First
		}
	}
	return s, nil
}

// compareOne compares the rules and the link of one attachment with what it needs.
func compareOne(v node.Snapshot, i int) ([]compare.Difference, error) {
	w, err := veth.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Close() }()
	found, err := node.QueryRules(func(c *nft.Conn) ([]compare.Difference, error) {
		return compare.Policy(c, v.Desired().Attachments[i], w.HasAddress)
	})
	if err != nil {
		return nil, err
	}
	one := v.Records[i : i+1]
	node, err := compare.NodeSide(w, one)
	container, errContainer := compare.ContainerSide(w, one)
	return append(append(found, node...), container...), errors.Join(err, errContainer)
}
