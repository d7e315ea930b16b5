package main

import (
	"net/netip"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/reconcile"
)

// routeDelay is how long after an address the route may come or go that makes it the
// node's. The kernel sends the notification of an address first and changes the route
// then, in the same call (inet_insert_ifa in net/ipv4/devinet.c, __ipv6_ifa_notify in
// net/ipv6/addrconf.c).
const routeDelay = 100 * time.Millisecond

// addresses asks for a look when addresses come or go: at once, and again when their
// routes have followed.
type addresses struct {
	loop interface {
		AddressesRemoved([]netip.Addr)
		RequestSync(reason string, u reconcile.Urgency, s reconcile.Scope)
	}
	after func(time.Duration, func()) // time.AfterFunc

	mu   sync.Mutex
	due  bool // the second look is scheduled
	gone []netip.Addr
}

// changed takes notice of a change; gone are addresses that the node lost.
func (a *addresses) changed(gone []netip.Addr) {
	a.mu.Lock()
	a.gone = append(a.gone, gone...)
	due := a.due
	a.due = true
	a.mu.Unlock()
	a.loop.AddressesRemoved(gone)
	// Flows may be leaving with an egress address that is gone.
	a.loop.RequestSync("addresses", reconcile.Urgent, reconcile.Forwarding)
	if !due {
		a.after(routeDelay, a.again)
	}
}

func (a *addresses) again() {
	a.mu.Lock()
	gone := a.gone
	a.due, a.gone = false, nil
	a.mu.Unlock()
	a.loop.AddressesRemoved(gone)
	a.loop.RequestSync("addresses", reconcile.Soon, reconcile.Changes)
}
