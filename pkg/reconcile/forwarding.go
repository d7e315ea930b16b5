package reconcile

import (
	"errors"
	"net/netip"
	"slices"
	"sync"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// forwarding is the kind of a change of the forwarding settings.
const forwarding nft.Kind = "forwarding"

// syncForwarding turns forwarding on where replies to containers need it, for the address
// families of the links that the plugin made.
func (l *Loop) syncForwarding(records []*store.Record) (changes []nft.Difference, err error) {
	for _, f := range masq.Families {
		managed := func(r *store.Record) bool {
			return hasManagedLink(r) && slices.ContainsFunc(r.Addresses, func(a netip.Addr) bool { return masq.FamilyOf(a) == f })
		}
		if !slices.ContainsFunc(records, managed) {
			continue
		}
		names := sync.OnceValue(func() map[string]bool {
			all := map[string]bool{}
			for _, r := range records {
				if managed(r) {
					all[r.HostName()] = true
				}
			}
			return all
		})
		repaired, failed := l.deps.Host.RepairForwarding(func(name string) bool { return names()[name] }, []masq.Family{f})
		for _, setting := range repaired {
			changes = append(changes, nft.Difference{Kind: forwarding, Reason: masq.Changed, Object: setting, Detail: "turned off"})
		}
		err = errors.Join(err, failed)
	}
	if err != nil {
		l.countError(string(forwarding))
	}
	return changes, err
}
