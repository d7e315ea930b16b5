package compare

import (
	"errors"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// NodeSide compares the node's ends of the links of records, the node's routes and
// forwarding. It leaves out containers that no longer exist, whose link and network
// namespace are both missing. DEL, GC or stale-attachment cleanup removes their
// records.
func NodeSide(links Links, records []store.Record) ([]Difference, error) {
	var pairs []veth.Pair
	for _, r := range records {
		if p := PairOf(r); p != nil {
			pairs = append(pairs, *p)
		}
	}
	found, err := links.Compare(pairs)
	noLink := map[string]bool{}
	for _, d := range found {
		if d.Kind == veth.KindInterface && d.Reason == masq.Missing {
			noLink[d.Identity] = true
		}
	}
	removed := map[string]bool{}
	for _, p := range pairs {
		if !noLink[p.Identity] {
			continue
		}
		if container, err := links.CompareContainer(p); err == nil && slices.ContainsFunc(container, isMissing) {
			removed[p.Identity] = true
		}
	}
	found = slices.DeleteFunc(found, func(d veth.Difference) bool { return d.Identity != "" && removed[d.Identity] })
	return ofLink(found), err
}

// ContainerSide compares the containers' ends of the links of records. If the path of a
// namespace does not exist, the object is NotChecked: the container may be gone, or this
// process does not see the path.
func ContainerSide(links Links, records []store.Record) ([]Difference, error) {
	var out []Difference
	var errs []error
	for _, r := range records {
		p := PairOf(r)
		if p == nil {
			continue
		}
		found, err := links.CompareContainer(*p)
		errs = append(errs, err)
		for i := range found {
			if isMissing(found[i]) {
				found[i].Reason, found[i].Have = masq.NotChecked, "this process does not see the path"
			}
		}
		out = append(out, ofLink(found)...)
	}
	return out, errors.Join(errs...)
}

// isMissing reports whether a network namespace is not at the path where it was at ADD.
func isMissing(d veth.Difference) bool {
	return d.Kind == veth.KindNamespace && d.Reason == masq.Missing
}

// Split separates faults from objects that were not checked.
func Split(all []Difference) (faults, notChecked []Difference) {
	for _, d := range all {
		if d.Reason == masq.NotChecked {
			notChecked = append(notChecked, d)
		} else {
			faults = append(faults, d)
		}
	}
	return faults, notChecked
}
