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

// fakeLoop records the requests for syncs.
type fakeLoop struct {
	removed []netip.Addr
	damaged []int
	reasons []string
}

func (f *fakeLoop) AddressesRemoved(all []netip.Addr) { f.removed = append(f.removed, all...) }
func (f *fakeLoop) LinksDamaged(all []int)            { f.damaged = append(f.damaged, all...) }
func (f *fakeLoop) EventsLost()                       { f.reasons = append(f.reasons, "lost") }

func (f *fakeLoop) RequestSync(reason string, _ reconcile.Urgency, _ reconcile.Scope) {
	f.reasons = append(f.reasons, reason)
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
	if len(timers) != 1 || len(loop.reasons) != 3 || !slices.Equal(loop.removed, []netip.Addr{one, two}) {
		t.Fatalf("%d timers, requests %+v", len(timers), loop)
	}
	loop.removed = nil
	timers[0]()
	if len(loop.reasons) != 4 || !slices.Equal(loop.removed, []netip.Addr{one, two}) {
		t.Errorf("after the routes changed: %+v", loop)
	}
	l.addressesChanged(nil)
	if len(timers) != 2 {
		t.Error("no second sync for a later change")
	}
}

// TestLinkEvents checks the reason of the sync for each kind of event, and that the task ends
// with the error of the watcher.
func TestLinkEvents(t *testing.T) {
	closed := errors.New("socket closed")
	for _, c := range []struct {
		event   veth.Event
		reasons []string
	}{
		{veth.Event{Lost: true}, []string{"lost"}},
		{veth.Event{Links: true}, []string{"links"}},
		{veth.Event{Damaged: []int{7}}, []string{"links"}},
		{veth.Event{Addresses: true}, []string{"addresses"}},
		{veth.Event{RemovedAddresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, []string{"addresses"}},
		{veth.Event{Routes: true, Forwarding: true}, []string{"routes", "forwarding"}},
	} {
		loop := &fakeLoop{}
		l := linkEvents{
			loop: loop, after: func(time.Duration, func()) {},
			watch: func(_ context.Context, f func(veth.Event)) error { f(c.event); return closed },
		}
		if err := l.run(t.Context()); !errors.Is(err, closed) {
			t.Errorf("%+v: %v", c.event, err)
		}
		if !slices.Equal(loop.reasons, c.reasons) || !slices.Equal(loop.damaged, c.event.Damaged) {
			t.Errorf("%+v: requests %v, damaged links %v", c.event, loop.reasons, loop.damaged)
		}
	}
}
