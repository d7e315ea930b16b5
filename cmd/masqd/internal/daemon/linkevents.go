package daemon

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// routeDelay is how long after an address the kernel may add or remove the local route,
// which makes the address the node's. The kernel notifies of the address first and changes
// the route then, in the same call (inet_insert_ifa in net/ipv4/devinet.c, __ipv6_ifa_notify
// in net/ipv6/addrconf.c).
const routeDelay = 100 * time.Millisecond

// linkEvents requests syncs for changes of the node's links, addresses, routes and
// forwarding settings.
type linkEvents struct {
	watch func(context.Context, func(veth.Event)) error // veth.Watcher.Run
	loop  interface {
		AddressesRemoved([]netip.Addr)
		EventsLost()
		LinksDamaged(indexes []int)
		RequestSync(reason string, u reconcile.Urgency, s reconcile.Scope)
	}
	after func(time.Duration, func()) // time.AfterFunc

	mu        sync.Mutex
	scheduled bool // a second sync for addresses is scheduled
	removed   []netip.Addr
}

// run handles events until the context ends.
func (l *linkEvents) run(ctx context.Context) error { return l.watch(ctx, l.handle) }

func (l *linkEvents) handle(e veth.Event) {
	l.loop.LinksDamaged(e.Damaged)
	if e.Lost {
		l.loop.EventsLost()
	}
	if e.Links || len(e.Damaged) > 0 {
		l.loop.RequestSync("links", reconcile.Soon, reconcile.StaleAttachments)
	}
	if e.Addresses || len(e.RemovedAddresses) > 0 {
		l.addressesChanged(e.RemovedAddresses)
	}
	if e.Routes {
		l.loop.RequestSync("routes", reconcile.Soon, reconcile.Forwarding)
	}
	if e.Forwarding {
		l.loop.RequestSync("forwarding", reconcile.Urgent, reconcile.Forwarding)
	}
}

// addressesChanged requests a sync at once, and a second one after the routes have changed.
func (l *linkEvents) addressesChanged(removed []netip.Addr) {
	l.mu.Lock()
	l.removed = append(l.removed, removed...)
	scheduled := l.scheduled
	l.scheduled = true
	l.mu.Unlock()
	l.loop.AddressesRemoved(removed)
	// Flows may still leave with a removed egress address.
	l.loop.RequestSync("addresses", reconcile.Urgent, reconcile.Forwarding)
	if !scheduled {
		l.after(routeDelay, l.routesChanged)
	}
}

func (l *linkEvents) routesChanged() {
	l.mu.Lock()
	removed := l.removed
	l.scheduled, l.removed = false, nil
	l.mu.Unlock()
	l.loop.AddressesRemoved(removed)
	l.loop.RequestSync("addresses", reconcile.Soon, reconcile.Changes)
}
