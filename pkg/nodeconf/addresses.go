package nodeconf

import (
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// egressAddresses reads a list of egress addresses and unites it with the lists of
// other files.
func (r *reader) egressAddresses(k key, v value, all *[]found[netip.Addr]) {
	for _, item := range r.texts(k.name, v, masq.MostAddresses, "give a list of addresses such as [\"192.0.2.1\"]") {
		a, bad := masq.ParseEgressAddress(item.text)
		if bad != nil {
			r.fault(item.place, k.name, item.show(), bad.Wrong, bad.Mend)
			continue
		}
		r.again(k.name, item, before(*all, a), false)
		unite(r, k.name, all, found[netip.Addr]{item.place, a, item.show()}, masq.MostAddresses)
	}
}
