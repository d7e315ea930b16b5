package main

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/reconcile"
)

type syncRequests struct {
	removed []netip.Addr
	n       int
}

func (l *syncRequests) AddressesRemoved(all []netip.Addr) { l.removed = append(l.removed, all...) }

func (l *syncRequests) RequestSync(string, reconcile.Urgency, reconcile.Scope) { l.n++ }

// What is asked for too early is asked for again: once for several changes, with all
// addresses that are gone.
func TestAddressesAreLookedAtAgain(t *testing.T) {
	l := &syncRequests{}
	var due []func()
	a := addresses{loop: l, after: func(_ time.Duration, f func()) { due = append(due, f) }}
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::2")
	a.changed([]netip.Addr{one})
	a.changed(nil)
	a.changed([]netip.Addr{two})
	if len(due) != 1 || l.n != 3 || !slices.Equal(l.removed, []netip.Addr{one, two}) {
		t.Fatalf("%d looks are due, %+v", len(due), l)
	}
	l.removed = nil
	due[0]()
	if l.n != 4 || !slices.Equal(l.removed, []netip.Addr{one, two}) {
		t.Errorf("after the routes: %+v", l)
	}
	a.changed(nil)
	if len(due) != 2 {
		t.Error("a later change is not looked at again")
	}
}
