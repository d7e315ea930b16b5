package flowstats

import (
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// origin is the attachment whose flows made a row, and its tenant.
type origin struct {
	attachment string // network and container ID
	tenant     string // the pod's namespace, or the network without Kubernetes
}

func originOf(a masq.Attachment) origin {
	o := origin{attachment: a.Network + "/" + a.ContainerID, tenant: "network " + a.Network}
	if a.Namespace != "" {
		o.tenant = "namespace " + a.Namespace
	}
	return o
}

// originsOf returns the origins of the addresses that attachments have.
func originsOf(addresses []netip.Addr, cached []*store.Record, read func(masq.Key) (store.Record, bool, error)) map[netip.Addr]origin {
	wanted := make(map[netip.Addr]bool, len(addresses))
	for _, a := range addresses {
		wanted[a] = true
	}
	out := make(map[netip.Addr]origin, len(wanted))
	for _, r := range cached {
		for _, a := range r.Addresses {
			if !wanted[a] {
				continue
			}
			attachment := r.Attachment
			if whole, found, err := read(r.Key); err == nil && found {
				attachment = whole.Attachment
			}
			out[a] = originOf(attachment)
		}
	}
	return out
}

// fairShare returns at most n rows, in their order. If there are more, one attachment has
// at most a quarter of the n rows, and one tenant at most half of them, unless rows would
// stay unused.
func fairShare[T any](all []T, n int, originOf func(*T) origin) []T {
	if len(all) <= n {
		return all
	}
	kept := make([]bool, len(all))
	left := n
	attachments, tenants := map[string]int{}, map[string]int{}
	for i := range all {
		o := originOf(&all[i])
		if left == 0 || attachments[o.attachment] >= divideUp(n, 4) || tenants[o.tenant] >= divideUp(n, 2) {
			continue
		}
		attachments[o.attachment]++
		tenants[o.tenant]++
		kept[i] = true
		left--
	}
	out := make([]T, 0, n)
	for i := range all {
		if !kept[i] && left > 0 {
			kept[i] = true
			left--
		}
		if kept[i] {
			out = append(out, all[i])
		}
	}
	return out
}

// divideUp returns n divided by a number, rounded up.
func divideUp(n, by int) int { return (n + by - 1) / by }
