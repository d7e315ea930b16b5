package wire

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
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
	// back when the event is read: see [Wire.HasAddress].
	Gone []netip.Addr
	// Damaged lists the interfaces, by index, of links of ours that have lost something
	// that [Wire.Add] gave them: their state, MTU, group, MAC, name, an address or a
	// route; and of links whose carrier returned. [Wire.RepairIndexes] restores it. Links
	// that are being deleted are among them. The kernel sends no notifications about
	// proxy neighbors, so only [Wire.Compare] finds a missing one.
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
	file  *os.File
	buf   []byte
	ask   *conn // the Wire may be closed before the Watcher ends
	known known
}

// watchBuffer is the room for notifications that were not read yet, in bytes: those
// of some thousand links that go at once.
const watchBuffer = 8 << 20

// watchGroups are the multicast groups of rtnetlink that it listens to.
const watchGroups = 1<<(unix.RTNLGRP_LINK-1) |
	1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1) |
	1<<(unix.RTNLGRP_IPV4_ROUTE-1) | 1<<(unix.RTNLGRP_IPV6_ROUTE-1) |
	1<<(unix.RTNLGRP_IPV4_NETCONF-1) | 1<<(unix.RTNLGRP_IPV6_NETCONF-1) |
	1<<(unix.RTNLGRP_IPV4_RULE-1) | 1<<(unix.RTNLGRP_IPV6_RULE-1) | 1<<(unix.RTNLGRP_NEXTHOP-1)

// Watch begins to hear of changes, of all that come after its return. It reads all
// links and addresses once, about 6 µs for each, and remembers about 50 bytes of
// each, so that it can tell news from repetition. The caller has to call Run, which
// releases it.
func (w *Wire) Watch() (*Watcher, error) { return w.watch(watchBuffer) }

func (w *Wire) watch(buffer int) (_ *Watcher, err error) {
	ask, err := w.node.dial()
	if err != nil {
		return nil, fmt.Errorf("watch links: %w", err)
	}
	x := &Watcher{buf: make([]byte, 64<<10), ask: ask}
	defer func() {
		if err != nil {
			x.close()
			err = fmt.Errorf("watch links: %w", err)
		}
	}()
	err = w.node.within(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		x.file = os.NewFile(uintptr(fd), "rtnetlink")
		return errors.Join(
			os.NewSyscallError("setsockopt SO_RCVBUFFORCE", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer)),
			os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: watchGroups})))
	})
	if err != nil {
		return nil, err
	}
	x.known, err = learn(x.ask)
	return x, err
}

func (x *Watcher) close() {
	if x.file != nil {
		_ = x.file.Close()
	}
	x.ask.close()
}

// Run calls f for changes until the context ends, which is no error. It is called
// once.
func (x *Watcher) Run(ctx context.Context, f func(Event)) error {
	defer x.close()
	stop := context.AfterFunc(ctx, func() { _ = x.file.Close() })
	defer stop()
	raw, err := x.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	for {
		e, err := x.next(raw)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("watch links: %w", err)
		case !e.none():
			f(e)
		}
	}
}

// next waits for one datagram, and returns what it says.
func (x *Watcher) next(raw syscall.RawConn) (Event, error) {
	n, err := x.read(raw)
	switch {
	case errors.Is(err, unix.EINTR):
		return Event{}, nil
	case errors.Is(err, unix.ENOBUFS) || n > len(x.buf): // the rest of a long one is lost
		return x.startAnew(raw)
	case err != nil:
		return Event{}, err
	}
	return x.news(x.buf[:n]), nil
}

// read waits for one datagram. It returns its length, which may be more than there
// was room for.
func (x *Watcher) read(raw syscall.RawConn) (n int, err error) {
	var readErr error
	err = raw.Read(func(fd uintptr) bool {
		n, _, readErr = unix.Recvfrom(int(fd), x.buf, unix.MSG_TRUNC)
		return !errors.Is(readErr, unix.EAGAIN)
	})
	if err != nil {
		return 0, err
	}
	return n, os.NewSyscallError("recvfrom", readErr)
}

// startAnew says that something was lost, once nothing more gets lost. A socket that
// was full takes nothing until it is empty, and does not say so a second time
// (netlink_overrun and netlink_rcv_wake in af_netlink.c): whoever looked before that
// could miss what came next.
func (x *Watcher) startAnew(raw syscall.RawConn) (Event, error) {
	var readErr error
	err := raw.Control(func(fd uintptr) {
		for readErr == nil || errors.Is(readErr, unix.ENOBUFS) || errors.Is(readErr, unix.EINTR) {
			_, _, readErr = unix.Recvfrom(int(fd), x.buf, 0)
		}
	})
	switch {
	case err != nil:
		return Event{}, err
	case !errors.Is(readErr, unix.EAGAIN):
		return Event{}, os.NewSyscallError("recvfrom", readErr)
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

// news is what a datagram says.
func (x *Watcher) news(b []byte) Event {
	var e Event
	for h, body := range datagram(b).messages {
		switch h.Type {
		case unix.RTM_NEWLINK:
			news, damaged := x.known.link(body)
			e.Links = news || e.Links
			e.damaged(damaged)
		case unix.RTM_DELLINK:
			e.Links = x.known.linkGone(body) || e.Links
		case unix.RTM_NEWADDR:
			e.Addresses = x.known.address(body) || e.Addresses
		case unix.RTM_DELADDR:
			e.damaged(x.known.gatewayGone(body))
			lost, gone := x.known.addressGone(body)
			e.Addresses = lost || e.Addresses
			if gone.IsValid() {
				e.Gone = append(e.Gone, gone)
			}
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			news, damaged := x.known.route(h.Type, body)
			e.Routes = news || e.Routes
			e.damaged(damaged)
		case unix.RTM_NEWRULE, unix.RTM_NEWNEXTHOP: // may lead to another uplink
			e.Routes = true
		case unix.RTM_NEWNETCONF:
			e.Forwarding = x.unforwards(body) || e.Forwarding
		}
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
