package main

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// However many containers have come and gone, each with an address of its own, the
// memory of them is bounded: the earliest are forgotten, and none that is there.
func TestOwnersAreBounded(t *testing.T) {
	const rounds, each = 40, 1000
	record := func(n int) *store.Record {
		a := netip.AddrFrom16([16]byte{0: 0xfd, 12: byte(n >> 24), 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)})
		return &store.Record{Attachment: masq.Attachment{
			Key: masq.Key{Network: "n", ContainerID: fmt.Sprint(n), Interface: "eth0"}, Addresses: []netip.Addr{a},
		}, Created: time.Now(), Ready: true}
	}
	stays := record(1 << 24)
	var now reconcile.Snapshot
	o := owners{
		snapshot: func() reconcile.Snapshot { return now },
		refresh:  func() error { return nil },
		read: func(masq.Key) (store.Record, bool, error) {
			return store.Record{}, false, nil
		},
		known: map[*store.Record]bool{}, by: map[netip.Addr][]tenure{},
	}
	at := func(r *store.Record) bool {
		owner, ok := o.at(r.Addresses[0], time.Now())
		return ok && owner.Key == r.Key
	}
	for round := range rounds {
		now = reconcile.Snapshot{Version: now.Version + 1, Records: []*store.Record{stays}}
		for i := range each {
			now.Records = append(now.Records, record(round*each+i))
		}
		if !at(now.Records[1]) || !at(stays) {
			t.Fatalf("round %d: one that is there is not known", round)
		}
		if most := maxDeparted + each + 1; len(o.by) > most || len(o.departed) > maxDeparted {
			t.Fatalf("round %d: %d addresses and %d departures", round, len(o.by), len(o.departed))
		}
	}
	if at(record(0)) || !at(record((rounds-2)*each)) {
		t.Error("the earliest is known, or a late one is not")
	}
	// The same attachment comes back, and is not forgotten with its first time.
	back := record((rounds - 2) * each)
	for round := range rounds {
		now = reconcile.Snapshot{Version: now.Version + 1, Records: []*store.Record{stays, back}}
		for i := range each {
			now.Records = append(now.Records, record((rounds+round)*each+i))
		}
		if !at(back) || !at(stays) {
			t.Fatalf("round %d: one that is there is not known", round)
		}
	}
}
