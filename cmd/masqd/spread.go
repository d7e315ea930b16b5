package main

import (
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// owner is the attachment, and the tenant, that chose a label value of a metric.
type owner struct {
	attachment string // network and container ID
	tenant     string // the pod's namespace, or the network without Kubernetes
}

func ownerOf(a masq.Attachment) owner {
	o := owner{attachment: a.Network + "/" + a.ContainerID, tenant: "network " + a.Network}
	if a.Namespace != "" {
		o.tenant = "namespace " + a.Namespace
	}
	return o
}

// ownersOf returns the owners of those addresses that attachments have. The cached records
// have no pod names; whole reads the record of one attachment.
func ownersOf(addresses []netip.Addr, records []*store.Record, whole func(masq.Key) (store.Record, bool, error)) map[netip.Addr]owner {
	wanted := make(map[netip.Addr]bool, len(addresses))
	for _, a := range addresses {
		wanted[a] = true
	}
	out := make(map[netip.Addr]owner, len(wanted))
	for _, r := range records {
		for _, a := range r.Addresses {
			if !wanted[a] {
				continue
			}
			attachment := r.Attachment
			if w, found, err := whole(r.Key); err == nil && found {
				attachment = w.Attachment
			}
			out[a] = ownerOf(attachment)
		}
	}
	return out
}

// spread returns at most n elements, in their order. Where not all fit, one attachment has
// at most a quarter of the n, and one tenant half of them, as long as elements of others
// are left out.
func spread[T any](all []T, n int, of func(*T) owner) []T {
	if len(all) <= n {
		return all
	}
	taken := make([]bool, len(all))
	left := n
	attachments, tenants := map[string]int{}, map[string]int{}
	for i := range all {
		o := of(&all[i])
		if left == 0 || attachments[o.attachment] >= part(n, 4) || tenants[o.tenant] >= part(n, 2) {
			continue
		}
		attachments[o.attachment]++
		tenants[o.tenant]++
		taken[i] = true
		left--
	}
	out := make([]T, 0, n)
	for i := range all {
		if !taken[i] && left > 0 {
			taken[i] = true
			left--
		}
		if taken[i] {
			out = append(out, all[i])
		}
	}
	return out
}

// part is n divided by a number, rounded up.
func part(n, by int) int { return (n + by - 1) / by }
