package veth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Event says which objects may have changed.
type Event struct {
	// Lost says that notifications were lost: anything may have changed.
	Lost bool
	// Links says that an interface was added or deleted, or changed its name, MTU, group,
	// administrative state or carrier. Of links that the plugin made, only losses are
	// reported: a new link is known by its record.
	Links bool
	// Addresses says that a usable global address was added or deleted.
	Addresses bool
	// Routes says that a route was added, deleted or changed, except routes to containers of
	// the plugin and routes that the kernel adds with an address; or that a routing rule or a
	// nexthop object was added or changed.
	Routes bool
	// Forwarding says that forwarding of an interface, or of the node, was disabled.
	Forwarding bool
	// RemovedAddresses lists the global addresses that no interface has any longer. An
	// address may have been added again when the event is read: see [Conn.HasAddress].
	RemovedAddresses []netip.Addr
	// Damaged lists, by index, the host's ends that no longer have the state, MTU, group,
	// MAC, name, address or route that [Conn.Add] gave them, and those whose carrier
	// returned. [Conn.RepairIndexes] restores them. Links that are being deleted are among
	// them. The kernel sends no notifications about proxy neighbors: only [Conn.Compare]
	// finds a missing one.
	Damaged []int
}

func (e Event) isEmpty() bool {
	return !e.Lost && !e.Links && !e.Addresses && !e.Routes && !e.Forwarding && len(e.RemovedAddresses) == 0 && len(e.Damaged) == 0
}

func (e *Event) addDamaged(index int) {
	if index != 0 && !slices.Contains(e.Damaged, index) {
		e.Damaged = append(e.Damaged, index)
	}
}

// Watcher receives changes of the node's links, addresses, routes and forwarding.
type Watcher struct {
	events   *netlink.Subscription
	requests *socket // its own, since the Conn may be closed before the Watcher ends
	observed observed
}

// watchBuffer is the size in bytes of the buffer for unread notifications. It is large
// enough for some thousand links that are deleted at once.
const watchBuffer = 8 << 20

// watchGroups are the multicast groups of rtnetlink that a Watcher joins.
var watchGroups = []int{
	unix.RTNLGRP_LINK,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
	unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF,
	unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_NEXTHOP,
}

// Watch returns a Watcher of all changes after its return. It reads all links and
// addresses once, about 6 µs for each, and stores about 50 bytes of each to detect
// notifications that change nothing. The caller has to call Run, which closes the Watcher.
func (c *Conn) Watch() (*Watcher, error) { return c.watch(watchBuffer) }

func (c *Conn) watch(buffer int) (_ *Watcher, err error) {
	requests, err := c.node.dial(nodeBuffer)
	if err != nil {
		return nil, fmt.Errorf("watch links: %w", err)
	}
	x := &Watcher{requests: requests}
	defer func() {
		if err != nil {
			x.close()
			err = fmt.Errorf("watch links: %w", err)
		}
	}()
	err = c.node.within(func() (err error) {
		x.events, err = netlink.Subscribe(unix.NETLINK_ROUTE, buffer, watchGroups...)
		return err
	})
	if err != nil {
		return nil, err
	}
	x.observed, err = observe(x.requests)
	return x, err
}

func (x *Watcher) close() {
	if x.events != nil {
		_ = x.events.Close()
	}
	x.requests.close()
}

// Run calls f for changes until the context ends, which is no error. It can be called once.
func (x *Watcher) Run(ctx context.Context, f func(Event)) error {
	defer x.close()
	for {
		var e Event
		err := x.receive(ctx, f)
		if errors.Is(err, netlink.ErrOverrun) || errors.Is(err, netlink.ErrMalformed) {
			e, err = x.resync()
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("watch links: %w", err)
		}
		f(e)
	}
}

// receive calls f for changes until an error.
func (x *Watcher) receive(ctx context.Context, f func(Event)) error {
	for m, err := range x.events.Messages(ctx) {
		if err != nil {
			return err
		}
		if e := x.event(m); !e.isEmpty() {
			f(e)
		}
	}
	return nil
}

func (x *Watcher) resync() (Event, error) {
	if err := x.events.Drain(); err != nil {
		return Event{}, err
	}
	now, err := observe(x.requests)
	if err != nil {
		return Event{}, err
	}
	e := Event{Lost: true}
	for a := range x.observed.addresses {
		if _, ok := now.addresses[a]; !ok {
			e.RemovedAddresses = append(e.RemovedAddresses, a)
		}
	}
	x.observed = now
	return e, nil
}

// event returns the Event of a notification.
func (x *Watcher) event(m *netlink.Message) (e Event) {
	switch m.Type {
	case unix.RTM_NEWLINK:
		changed, damaged := x.observed.link(m.Body)
		e.Links = changed
		e.addDamaged(damaged)
	case unix.RTM_DELLINK:
		e.Links = x.observed.linkDeleted(m.Body)
	case unix.RTM_NEWADDR:
		e.Addresses = x.observed.address(m.Body)
	case unix.RTM_DELADDR:
		e.addDamaged(x.observed.gatewayDeleted(m.Body))
		changed, removed := x.observed.addressDeleted(m.Body)
		e.Addresses = changed
		if removed.IsValid() {
			e.RemovedAddresses = append(e.RemovedAddresses, removed)
		}
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		changed, damaged := x.observed.route(m.Type, m.Body)
		e.Routes = changed
		e.addDamaged(damaged)
	case unix.RTM_NEWRULE, unix.RTM_NEWNEXTHOP: // may lead to another uplink
		e.Routes = true
	case unix.RTM_NEWNETCONF:
		e.Forwarding = x.stopsForwarding(m.Body)
	}
	return e
}

// stopsForwarding reports whether a notification may disable forwarding.
func (x *Watcher) stopsForwarding(body []byte) bool {
	off, index := readForwarding(body)
	if index == 0 {
		return off
	}
	m := getByIndex(index)
	m.allow = unix.ENODEV
	if err := x.requests.exchange(m); err != nil {
		return true // not known
	}
	d, err := m.device()
	forced, _ := d.setting6(devconf6ForceForwarding)
	return err == nil && forced == 0
}
