package cniconf

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// toPorts reads the source ports to choose from.
func (r *reader) toPorts(egress []netip.Addr) []masq.PortRange {
	const key = "toPorts"
	text, ok := r.text(key, masq.PortsMend)
	if !ok {
		return nil
	}
	if count := strings.Count(text, ",") + 1; count <= masq.MostMappings {
		if wrong := masq.TooManyPairs(count, egress); wrong != "" {
			r.add(key, masq.Quote(text), wrong, fmt.Sprintf("give at most %d", masq.MostMappings))
			return nil
		}
	}
	ranges, wrong := masq.ParseToPorts(text)
	for _, bad := range wrong {
		r.add(key, masq.Quote(text), bad.Wrong, bad.Mend)
	}
	return ranges
}
