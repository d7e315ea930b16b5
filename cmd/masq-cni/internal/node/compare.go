package node

import (
	"errors"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/compare"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// TableDrift returns the differences of table inet masq from the desired state.
func (s Snapshot) TableDrift() ([]nft.Difference, error) {
	return QueryRules(s.CompareTable)
}

// CompareTable is TableDrift with a connection. If records cannot be read, unexpected
// objects are no difference: they may belong to the attachments of these records.
//
// The plugin or masqd may have changed records and rules since the snapshot. So differences are
// confirmed with another snapshot, during whose comparison the ruleset did not change.
func (s Snapshot) CompareTable(c *nft.Conn) ([]nft.Difference, error) {
	changes, err := s.compareTable(c)
	if err != nil || len(changes) == 0 || s.again == nil {
		return changes, err
	}
	for range maxComparisons {
		before, err := c.Generation()
		if err != nil {
			return nil, err
		}
		now, err := s.again()
		if err != nil {
			return nil, err
		}
		if changes, err = now.compareTable(c); err != nil || len(changes) == 0 {
			return changes, err
		}
		after, err := c.Generation()
		if err != nil {
			return nil, err
		}
		if after == before {
			break
		}
	}
	return changes, nil
}

// maxComparisons bounds the comparisons on a node whose ruleset changes all the time.
const maxComparisons = 5

func (s Snapshot) compareTable(c *nft.Conn) ([]nft.Difference, error) {
	changes, err := c.Drift(s.Desired().Table, s.Desired().Pending)
	if s.Unread != nil {
		changes = slices.DeleteFunc(changes, func(x nft.Difference) bool { return x.Reason == masq.Unexpected })
	}
	for _, e := range store.ReadErrors(s.Unread) {
		changes = append(changes, nft.Difference{Kind: "record", Object: e.Path, Reason: masq.Changed, Detail: "cannot be read: " + e.Err.Error() + "; its rules are kept"})
	}
	return changes, err
}

// CompareLinks compares the node's ends of all links that the plugin made, and the
// containers' ends of the first links, or of the attachments in only. skipped is the number
// of containers' ends that it does not compare.
func (s Snapshot) CompareLinks(maxContainers int, only ...string) (found []compare.Difference, skipped int, err error) {
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
	if len(only) > 0 {
		entered = slices.DeleteFunc(slices.Clone(wired), func(r store.Record) bool { return !slices.Contains(only, r.Identity()) })
	}
	onNode, errNode := compare.NodeSide(w, wired)
	inContainer, errContainer := compare.ContainerSide(w, entered)
	if len(only) == 0 {
		skipped = len(wired) - len(entered)
	}
	return append(onNode, inContainer...), skipped, errors.Join(errNode, errContainer)
}

// PortPools returns the ranges of source ports that the policies allow.
func (s Snapshot) PortPools() *portpool.Pools {
	d := s.Desired()
	return portpool.PoolsOf(d.Attachments, d.Sources.Prefixes, d.Sources.Policy)
}
