package daemon

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// syncRequest has the arguments of RequestSync.
type syncRequest struct {
	reason  string
	urgency reconcile.Urgency
	scope   reconcile.Scope
}

// fakeLoop records the requests for syncs.
type fakeLoop struct {
	removed  []netip.Addr
	damaged  []int
	lost     int
	requests []syncRequest
}

func (f *fakeLoop) AddressesRemoved(all []netip.Addr) { f.removed = append(f.removed, all...) }
func (f *fakeLoop) LinksDamaged(all []int)            { f.damaged = append(f.damaged, all...) }
func (f *fakeLoop) EventsLost()                       { f.lost++ }

func (f *fakeLoop) RequestSync(reason string, u reconcile.Urgency, s reconcile.Scope) {
	f.requests = append(f.requests, syncRequest{reason, u, s})
}

// The kernel changes the route of an address after its notification. Several changes are
// followed by one more sync, with all removed addresses.
func TestAddressesAreSyncedAgain(t *testing.T) {
	loop := &fakeLoop{}
	var timers []func()
	l := linkEvents{loop: loop, after: func(_ time.Duration, f func()) { timers = append(timers, f) }}
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::2")
	l.addressesChanged([]netip.Addr{one})
	l.addressesChanged(nil)
	l.addressesChanged([]netip.Addr{two})
	if len(timers) != 1 || len(loop.requests) != 3 || !slices.Equal(loop.removed, []netip.Addr{one, two}) {
		t.Fatalf("%d timers, requests %+v", len(timers), loop)
	}
	loop.removed = nil
	timers[0]()
	second := syncRequest{"addresses", reconcile.Soon, reconcile.Changes}
	if len(loop.requests) != 4 || loop.requests[3] != second || !slices.Equal(loop.removed, []netip.Addr{one, two}) {
		t.Errorf("after the routes changed: %+v", loop)
	}
	l.addressesChanged(nil)
	if len(timers) != 2 {
		t.Error("no second sync for a later change")
	}
}

// TestLinkEvents checks the sync that each kind of event requests, and that the task ends with
// the error of the watcher.
func TestLinkEvents(t *testing.T) {
	closed := errors.New("socket closed")
	links := syncRequest{"links", reconcile.Soon, reconcile.StaleAttachments}
	addresses := syncRequest{"addresses", reconcile.Urgent, reconcile.Forwarding}
	routes := syncRequest{"routes", reconcile.Soon, reconcile.Forwarding}
	forwarding := syncRequest{"forwarding", reconcile.Urgent, reconcile.Forwarding}
	for _, c := range []struct {
		event    veth.Event
		lost     int
		requests []syncRequest
	}{
		{veth.Event{Lost: true}, 1, nil},
		{veth.Event{Links: true}, 0, []syncRequest{links}},
		{veth.Event{Damaged: []int{7}}, 0, []syncRequest{links}},
		{veth.Event{Addresses: true}, 0, []syncRequest{addresses}},
		{veth.Event{RemovedAddresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, 0, []syncRequest{addresses}},
		{veth.Event{Routes: true, Forwarding: true}, 0, []syncRequest{routes, forwarding}},
	} {
		loop := &fakeLoop{}
		l := linkEvents{
			loop: loop, after: func(time.Duration, func()) {},
			watch: func(_ context.Context, f func(veth.Event)) error { f(c.event); return closed },
		}
		if err := l.run(t.Context()); !errors.Is(err, closed) {
			t.Errorf("%+v: %v", c.event, err)
		}
		if loop.lost != c.lost || !slices.Equal(loop.requests, c.requests) || !slices.Equal(loop.damaged, c.event.Damaged) || !slices.Equal(loop.removed, c.event.RemovedAddresses) {
			t.Errorf("%+v: %+v", c.event, loop)
		}
	}
}
