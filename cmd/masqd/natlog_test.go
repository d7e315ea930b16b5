package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// The end of a flow may come when its container is gone and another has the address.
func TestOwnersOfAnAddress(t *testing.T) {
	addr := netip.MustParseAddr("10.88.0.5")
	var now reconcile.Snapshot
	pods := map[masq.Key]string{}
	o := owners{
		snapshot: func() reconcile.Snapshot { return now },
		refresh:  func() error { return nil },
		read: func(k masq.Key) (store.Record, bool, error) {
			for _, r := range now.Records {
				if r.Key == k {
					whole := *r
					whole.Name = pods[k]
					return whole, true, nil
				}
			}
			return store.Record{}, false, nil
		},
		known: map[*store.Record]bool{}, by: map[netip.Addr][]tenure{},
	}
	begun := time.Unix(1000, 0)
	give := func(id string, at time.Time) {
		r := &store.Record{Attachment: masq.Attachment{Key: masq.Key{Network: "n", ContainerID: id, Interface: "eth0"}, Addresses: []netip.Addr{addr}}, Created: at, Ready: true}
		pods[r.Key] = "pod-" + id
		now = reconcile.Snapshot{Records: []*store.Record{r}, Version: now.Version + 1}
	}
	who := func(at time.Time) string {
		owner, ok := o.at(addr, at)
		if !ok {
			return ""
		}
		return owner.ContainerID + " " + owner.Name
	}
	if got := who(begun); got != "" {
		t.Errorf("nobody is %q", got)
	}
	for i, id := range []string{"a", "b", "c", "d", "e", "f"} {
		give(id, begun.Add(time.Duration(i)*time.Minute))
		if got := who(begun.Add(time.Duration(i)*time.Minute + time.Second)); got != id+" pod-"+id {
			t.Errorf("the %d. is %q", i+1, got)
		}
	}
	for at, want := range map[time.Duration]string{
		5*time.Minute + 30*time.Second: "f pod-f",
		4*time.Minute + 30*time.Second: "e pod-e",
		2*time.Minute + 30*time.Second: "c pod-c",
		5*time.Minute - maxClockSkew/2: "f pod-f", // within the clock skew
	} {
		if got := who(begun.Add(at)); got != want {
			t.Errorf("at %s: %q, not %q", at, got, want)
		}
	}
	// Gone, and remembered.
	now = reconcile.Snapshot{Version: now.Version + 1}
	if got := who(begun.Add(time.Hour)); got != "f pod-f" {
		t.Errorf("after the end it is %q", got)
	}
	// The clock was set back an hour: records are of times to come, and who had the
	// address last has it.
	for i, id := range []string{"g", "h"} {
		give(id, time.Now().Add(time.Duration(30+20*i)*time.Minute))
		if got := who(time.Now()); got != id+" pod-"+id {
			t.Errorf("after the clock was set back it is %q, not %s", got, id)
		}
	}
}

// A container's first flow is its own, though nobody has told of its record yet.
func TestOwnerNotHeardOf(t *testing.T) {
	addr := netip.MustParseAddr("10.88.0.5")
	r := &store.Record{Attachment: masq.Attachment{Key: masq.Key{Network: "n", ContainerID: "c", Interface: "eth0"}, Addresses: []netip.Addr{addr}}}
	var now reconcile.Snapshot
	o := owners{
		snapshot: func() reconcile.Snapshot { return now },
		refresh: func() error {
			now = reconcile.Snapshot{Records: []*store.Record{r}, Version: 1}
			return nil
		},
		read:  func(masq.Key) (store.Record, bool, error) { return *r, true, nil },
		known: map[*store.Record]bool{}, by: map[netip.Addr][]tenure{},
	}
	if owner, ok := o.at(addr, time.Now()); !ok || owner.Key != r.Key {
		t.Errorf("%+v, %t", owner, ok)
	}
}
