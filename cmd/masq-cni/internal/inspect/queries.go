package inspect

import (
	"slices"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// maxAddresses is the number of addresses that are queried one by one. For more addresses
// one dump of all flows is faster.
const maxAddresses = 8

// queriesOf returns queries for the flows from and to attachments, given by their indices,
// that base selects too, with those that masqd began for them. No flow matches two queries. The kernel filters by IPv4 address
// only: its comparison of IPv6 addresses is inverted (Linux 5.8 to at least 6.18).
func queriesOf(s node.Snapshot, attachments []int, base conntrack.Filter) []node.Query {
	selected := map[int]bool{}
	for _, i := range attachments {
		selected[i] = true
	}
	isFrom := func(f *conntrack.Flow) bool {
		return selected[s.Owners.Index(f.Original.Src)] || selected[s.Owners.ClientIndex(f)]
	}
	isTo := func(f *conntrack.Flow) bool { return selected[s.Owners.Index(f.Reply.Src)] }
	isNeither := func(f *conntrack.Flow) bool { return !isFrom(f) && !isTo(f) }
	var out []node.Query
	hasIPv6 := false
	for _, i := range attachments {
		for _, a := range s.Records[i].Addresses {
			if !a.Is4() {
				hasIPv6 = true
				continue
			}
			if base.Family == masq.IPv6 {
				continue
			}
			from, to := base, base
			from.Original.Src, to.Reply.Src = a, a
			out = append(out, node.Query{Filter: from, Except: isNeither}, node.Query{Filter: to, Except: func(f *conntrack.Flow) bool { return !isTo(f) || isFrom(f) }})
		}
	}
	// masqd's flows have its own address.
	if len(out) > 2*maxAddresses || slices.ContainsFunc(attachments, s.Owners.IsClient) {
		return []node.Query{{Filter: base, Except: isNeither}}
	}
	if hasIPv6 && base.Family != masq.IPv4 {
		base.Family = masq.IPv6
		out = append(out, node.Query{Filter: base, Except: isNeither})
	}
	return out
}
