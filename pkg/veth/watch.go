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

// Event says what may no longer be what it was.
type Event struct {
	// Lost says that the kernel had more to tell than there was room for: anything
	// may have changed.
	Lost bool
	// Links says that an interface came, went, or changed its name, MTU, group,
	// administrative state or carrier. For links that the plugin made, only losses are
	// reported: the record of a container announces a new link.
	Links bool
	// Addresses says that the node got a global address that can be used, or lost one.
	Addresses bool
	// Routes says that a route came, went or changed, except routes to containers that
	// the plugin attached and routes that come with an address; or that a routing rule
	// or a nexthop object came or changed.
	Routes bool
	// Forwarding says that an interface, or the node, was told not to forward.
	Forwarding bool
	// Gone lists the global addresses that no interface has any longer. They may be
	// back when the event is read: see [Conn.HasAddress].
	Gone []netip.Addr
	// Damaged lists the interfaces, by index, of links of ours that have lost something
	// that [Conn.Add] gave them: their state, MTU, group, MAC, name, an address or a
	// route; and of links whose carrier returned. [Conn.RepairIndexes] restores it. Links
	// that are being deleted are among them. The kernel sends no notifications about
	// proxy neighbors, so only [Conn.Compare] finds a missing one.
	Damaged []int
}

func (e Event) none() bool {
	return !e.Lost && !e.Links && !e.Addresses && !e.Routes && !e.Forwarding && len(e.Gone) == 0 && len(e.Damaged) == 0
}

func (e *Event) damaged(index int) {
	if index != 0 && !slices.Contains(e.Damaged, index) {
		e.Damaged = append(e.Damaged, index)
	}
}

// Watcher hears of changes of the node's links, addresses, routes and forwarding.
type Watcher struct {
	events *netlink.Subscription
	ask    *socket // the Conn may be closed before the Watcher ends
	known  known
}

// watchBuffer is the room for notifications that were not read yet, in bytes: those
// of some thousand links that go at once.
const watchBuffer = 8 << 20

// watchGroups are the multicast groups of rtnetlink that it listens to.
var watchGroups = []int{
	unix.RTNLGRP_LINK,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
	unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF,
	unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_NEXTHOP,
}

// Watch begins to hear of changes, of all that come after its return. It reads all
// links and addresses once, about 6 µs for each, and remembers about 50 bytes of
// each, so that it can tell news from repetition. The caller has to call Run, which
// releases it.
func (c *Conn) Watch() (*Watcher, error) { return c.watch(watchBuffer) }

func (c *Conn) watch(buffer int) (_ *Watcher, err error) {
	ask, err := c.node.dial()
	if err != nil {
		return nil, fmt.Errorf("watch links: %w", err)
	}
	x := &Watcher{ask: ask}
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
	x.known, err = learn(x.ask)
	return x, err
}

func (x *Watcher) close() {
	if x.events != nil {
		_ = x.events.Close()
	}
	x.ask.close()
}

// Run calls f for changes until the context ends, which is no error. It is called
// once.
func (x *Watcher) Run(ctx context.Context, f func(Event)) error {
	defer x.close()
	for {
		var e Event
		err := x.receive(ctx, f)
		if errors.Is(err, netlink.ErrOverrun) || errors.Is(err, netlink.ErrMalformed) {
			e, err = x.startAnew()
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

// receive calls f for changes until there is an error.
func (x *Watcher) receive(ctx context.Context, f func(Event)) error {
	for m, err := range x.events.Messages(ctx) {
		if err != nil {
			return err
		}
		if e := x.news(m); !e.none() {
			f(e)
		}
	}
	return nil
}

// startAnew says that something was lost, once nothing more gets lost, so that what
// it reads misses nothing.
func (x *Watcher) startAnew() (Event, error) {
	if err := x.events.Drain(); err != nil {
		return Event{}, err
	}
	now, err := learn(x.ask)
	if err != nil {
		return Event{}, err
	}
	e := Event{Lost: true}
	for a := range x.known.addresses {
		if _, ok := now.addresses[a]; !ok {
			e.Gone = append(e.Gone, a)
		}
	}
	x.known = now
	return e, nil
}

// news is what a message says.
func (x *Watcher) news(m *netlink.Message) (e Event) {
	switch m.Type {
	case unix.RTM_NEWLINK:
		news, damaged := x.known.link(m.Body)
		e.Links = news
		e.damaged(damaged)
	case unix.RTM_DELLINK:
		e.Links = x.known.linkGone(m.Body)
	case unix.RTM_NEWADDR:
		e.Addresses = x.known.address(m.Body)
	case unix.RTM_DELADDR:
		e.damaged(x.known.gatewayGone(m.Body))
		lost, gone := x.known.addressGone(m.Body)
		e.Addresses = lost
		if gone.IsValid() {
			e.Gone = append(e.Gone, gone)
		}
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		news, damaged := x.known.route(m.Type, m.Body)
		e.Routes = news
		e.damaged(damaged)
	case unix.RTM_NEWRULE, unix.RTM_NEWNEXTHOP: // may lead to another uplink
		e.Routes = true
	case unix.RTM_NEWNETCONF:
		e.Forwarding = x.unforwards(m.Body)
	}
	return e
}

// unforwards reports whether a notification says that something no longer forwards.
func (x *Watcher) unforwards(body []byte) bool {
	off, index := readForwarding(body)
	if index == 0 {
		return off
	}
	m := getByIndex(index)
	m.allow = unix.ENODEV
	if err := x.ask.exchange(m); err != nil {
		return true // it may
	}
	d, err := m.device()
	forced, _ := d.setting6(devconf6ForceForwarding)
	return err == nil && forced == 0
}
