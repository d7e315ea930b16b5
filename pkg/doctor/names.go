package doctor

import (
	"slices"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// examines reports whether an attachment is to be examined. i is an index of AllRecords.
func (n *Node) examines(i int) bool {
	return len(n.Only) == 0 || slices.Contains(n.Only, n.AllRecords[i].Identity())
}

// containers names containers in a sentence: "shop/cart", or "shop/cart and 2 other
// containers". all are indices of AllRecords.
func (n *Node) containers(all []int) string {
	s := n.Owners.At(all[0]).Pod()
	if len(all) > 1 {
		s += " and " + report.Plural(len(all)-1, "other container")
	}
	return s
}
