package nodeconf

import (
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// toPorts reads the source ports to choose from.
func (r *reader) toPorts(k key, v value) {
	if v.kind != isString {
		r.wrongType(k.name, v, masq.PortsMend)
		return
	}
	ranges, wrong := masq.ParseToPorts(v.text)
	for _, bad := range wrong {
		r.fault(v.place, k.name, v.show(), bad.Wrong, bad.Mend)
	}
	if len(wrong) == 0 {
		once(r, k.name, &r.s.toPorts, found[[]masq.PortRange]{v.place, ranges, v.show()}, slices.Equal)
	}
}
