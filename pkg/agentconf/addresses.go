package agentconf

import (
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// snatAddresses reads the egress addresses and unites them with those of other
// files.
func (r *reader) snatAddresses(k key, v value) {
	for _, item := range r.texts(k.name, v, masq.MostAddresses, "give a list of addresses such as [\"192.0.2.1\"]") {
		a, bad := masq.ParseEgressAddress(item.text)
		if bad != nil {
			r.fault(item.place, k.name, item.show(), bad.Wrong, bad.Mend)
			continue
		}
		r.again(k.name, item, before(r.s.snat, a), false)
		unite(r, k.name, &r.s.snat, found[netip.Addr]{item.place, a, item.show()}, masq.MostAddresses)
	}
}
