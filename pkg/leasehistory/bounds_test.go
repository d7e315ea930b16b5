package leasehistory

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// TestHistoryIsBounded adds and removes more attachments than the history keeps, each with
// a different address. The history forgets the earliest removed attachments, and no present
// one.
func TestHistoryIsBounded(t *testing.T) {
	const rounds, perRound = 40, 1000
	record := func(n int) *store.Record {
		a := netip.AddrFrom16([16]byte{0: 0xfd, 12: byte(n >> 24), 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)})
		return recordOf(fmt.Sprint(n), a, time.Now())
	}
	stays := record(1 << 24)
	f := &fakeSource{}
	h := New(f.source())
	// Reading fails, so the history uses the snapshot: the search of fakeSource is slow.
	h.source.Read = func(masq.Key) (store.Record, bool, error) { return store.Record{}, false, nil }
	knows := func(r *store.Record) bool {
		l, ok := h.At(r.Addresses[0], time.Now())
		return ok && l.Key == r.Key
	}
	for round := range rounds {
		records := []*store.Record{stays}
		for i := range perRound {
			records = append(records, record(round*perRound+i))
		}
		f.set(records...)
		if !knows(records[1]) || !knows(stays) {
			t.Fatalf("round %d: a present attachment is not known", round)
		}
		if most := maxRemoved + perRound + 1; len(h.leases) > most || len(h.removed) > maxRemoved {
			t.Fatalf("round %d: %d addresses and %d removals", round, len(h.leases), len(h.removed))
		}
	}
	if knows(record(0)) || !knows(record((rounds-2)*perRound)) {
		t.Error("the earliest attachment is known, or a late one is not")
	}
	// An attachment that is added again is not forgotten with its first lease.
	again := record((rounds - 2) * perRound)
	for round := range rounds {
		records := []*store.Record{stays, again}
		for i := range perRound {
			records = append(records, record((rounds+round)*perRound+i))
		}
		f.set(records...)
		if !knows(again) || !knows(stays) {
			t.Fatalf("round %d: a present attachment is not known", round)
		}
	}
}
