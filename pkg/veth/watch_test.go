package veth

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// recorder collects the events of a Watcher.
type recorder struct {
	node   *space
	events chan Event
}

func (s *space) listen(w *Conn) *recorder {
	s.t.Helper()
	x, err := w.Watch()
	s.must(err)
	return s.run(x, func(Event) {})
}

func (s *space) run(x *Watcher, f func(Event)) *recorder {
	e := &recorder{s, make(chan Event, 10000)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx, func(v Event) { f(v); e.events <- v }) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("Run: %v", err)
		}
	})
	return e
}

// next waits for one event.
func (e *recorder) next() Event {
	e.node.t.Helper()
	select {
	case v := <-e.events:
		return v
	case <-time.After(10 * time.Second):
		e.node.t.Fatal("no event in 10 s")
		return Event{}
	}
}

// received returns the events until now. It adds an address to lo and deletes it, and waits for
// these two events.
func (e *recorder) received() []Event {
	e.node.t.Helper()
	a, err := netlink.ParseAddr("192.0.2.77/32")
	e.node.must(err)
	e.node.must(e.node.AddrAdd(e.node.link("lo"), a))
	e.node.must(e.node.AddrDel(e.node.link("lo"), a))
	var all []Event
	given := -1
	for {
		v := e.next()
		if reflect.DeepEqual(v, Event{Addresses: true, RemovedAddresses: addrs("192.0.2.77")}) {
			break
		}
		if reflect.DeepEqual(v, Event{Addresses: true}) {
			given = len(all)
		}
		all = append(all, v)
	}
	if given < 0 {
		e.node.t.Fatalf("no event of the address of lo: %+v", all)
	}
	return slices.Delete(all, given, given+1)
}

// sum merges events.
func sum(events []Event) (s Event) {
	for _, e := range events {
		s.Lost = s.Lost || e.Lost
		s.Links = s.Links || e.Links
		s.Addresses = s.Addresses || e.Addresses
		s.Routes = s.Routes || e.Routes
		s.Forwarding = s.Forwarding || e.Forwarding
		s.RemovedAddresses = append(s.RemovedAddresses, e.RemovedAddresses...)
		s.Damaged = append(s.Damaged, e.Damaged...)
	}
	slices.Sort(s.Damaged)
	s.Damaged = slices.Compact(s.Damaged)
	return s
}

// busyNode is a node with an uplink, a container, a link of another program, and a link that
// tests change.
type busyNode struct {
	*lab
	container *space
	pair      Pair
	index     int // interface index at the node
	ear       *recorder
}

func newBusyNode(t *testing.T) *busyNode {
	t.Helper()
	b := &busyNode{lab: newLab(t), container: newSpace(t)}
	b.container.serveEcho("::")
	b.pair = pair(b.container, 5, "4", "6")
	b.index = mustAdd(t, b.conn, b.pair).HostIndex
	other := newSpace(t)
	cable(b.node, "idle0", other, "idle1")
	b.node.addr("idle0", "192.0.2.1/24")
	b.node.addr("idle0", "2001:db8::1/64")
	b.ear = b.node.listen(b.conn)
	return b
}

// settled waits until the link-local address that the kernel makes is there.
func (s *space) settled(name string) {
	s.t.Helper()
	s.await("the link-local address of "+name, func() bool {
		all, err := s.AddrList(s.link(name), unix.AF_INET6)
		return err == nil && slices.ContainsFunc(all, func(a netlink.Addr) bool {
			return a.IP.IsLinkLocalUnicast() && a.Flags&unix.IFA_F_TENTATIVE == 0
		})
	})
}

func addrs(s ...string) (out []netip.Addr) {
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// Each kind of change gives its kind of event, and no other.
func TestWatchEvents(t *testing.T) {
	forced := func(value string) func(*busyNode) {
		return func(b *busyNode) { b.node.sysctl(forwarding6Key("up0"), value) }
	}
	for _, c := range []struct {
		name   string
		before func(*busyNode)
		change func(*busyNode)
		want   Event
		// damaged: the container's link is to be repaired
		damaged bool
	}{
		{name: "a new link", change: func(b *busyNode) {
			b.node.must(b.node.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "new0"}, PeerName: "new1"}))
		}, want: Event{Links: true}},
		{name: "a link that is taken down", change: func(b *busyNode) {
			downed(b.node, "idle0")
		}, want: Event{Links: true, Addresses: true, RemovedAddresses: addrs("2001:db8::1")}},
		{name: "a link that comes up", before: func(b *busyNode) {
			downed(b.node, "idle0")
		}, change: func(b *busyNode) { b.node.up("idle0") }, want: Event{Links: true}},
		{name: "an MTU", change: func(b *busyNode) { b.node.mtu("up0", 1400) }, want: Event{Links: true}},
		{name: "a group", change: func(b *busyNode) {
			b.node.must(b.node.LinkSetGroup(b.node.link("up0"), 7))
		}, want: Event{Links: true}},
		{name: "a name", before: func(b *busyNode) {
			downed(b.node, "idle0")
		}, change: func(b *busyNode) {
			b.node.must(b.node.LinkSetName(b.node.link("idle0"), "idle7"))
		}, want: Event{Links: true}},
		{name: "a link that goes", before: func(b *busyNode) {
			downed(b.node, "idle0")
		}, change: func(b *busyNode) {
			b.node.must(b.node.LinkDel(b.node.link("idle0")))
		}, want: Event{Links: true, Addresses: true, RemovedAddresses: addrs("192.0.2.1")}},
		{name: "a link that moves to another namespace", before: func(b *busyNode) {
			downed(b.node, "idle0")
		}, change: func(b *busyNode) {
			b.node.must(b.node.LinkSetNsFd(b.node.link("idle0"), b.server.fd))
		}, want: Event{Links: true, Addresses: true, RemovedAddresses: addrs("192.0.2.1")}},
		{name: "a link of ours that goes", change: func(b *busyNode) {
			b.node.must(b.node.LinkDel(b.node.link(b.pair.HostName)))
		}, want: Event{Links: true}, damaged: true},
		{name: "a link of ours whose other end goes", change: func(b *busyNode) {
			b.container.must(b.container.LinkDel(b.container.link("eth0")))
		}, want: Event{Links: true}, damaged: true},
		{name: "a link of ours that is taken down", change: func(b *busyNode) {
			downed(b.node, b.pair.HostName)
		}, want: Event{Links: true}, damaged: true},
		{name: "a link of ours that leaves its group", change: func(b *busyNode) {
			b.node.must(b.node.LinkSetGroup(b.node.link(b.pair.HostName), 7))
		}, want: Event{Links: true}, damaged: true},
		{name: "another MAC of a link of ours", change: func(b *busyNode) {
			b.node.must(b.node.LinkSetHardwareAddr(b.node.link(b.pair.HostName), newMAC()))
		}, want: Event{Links: true}, damaged: true},
		{name: "an IPv4 route to a container that goes", change: func(b *busyNode) {
			b.node.removeRoute("10.88.0.5/32", b.pair.HostName)
		}, damaged: true},
		{name: "an IPv6 route to a container that goes", change: func(b *busyNode) {
			b.node.removeRoute("fd00:88::5/128", b.pair.HostName)
		}, damaged: true},
		{name: "a container's gateway that goes", change: func(b *busyNode) {
			b.node.removeGateway(b.pair.HostName)
		}, damaged: true},
		{name: "IPv6 of a link of ours that is turned off", change: func(b *busyNode) {
			b.node.sysctl("net/ipv6/conf/"+b.pair.HostName+"/disable_ipv6", "1")
		}, damaged: true},
		{name: "an IPv4 address", change: func(b *busyNode) { b.node.addr("up0", "10.0.0.9/24") }, want: Event{Addresses: true}},
		{name: "an IPv6 address", change: func(b *busyNode) { b.node.addr("up0", "fd00:10::9/64") }, want: Event{Addresses: true}},
		{name: "addresses that go", change: func(b *busyNode) {
			b.node.removeAddress("idle0", "192.0.2.1/24")
			b.node.removeAddress("idle0", "2001:db8::1/64")
		}, want: Event{Addresses: true, RemovedAddresses: addrs("192.0.2.1", "2001:db8::1")}},
		{name: "an address that stays on another link", before: func(b *busyNode) {
			b.node.addr("up0", "192.0.2.1/24")
		}, change: func(b *busyNode) {
			b.node.removeAddress("idle0", "192.0.2.1/24")
		}, want: Event{Addresses: true}},
		{name: "an address that moves", change: func(b *busyNode) {
			b.node.removeAddress("idle0", "192.0.2.1/24")
			b.node.addr("up0", "192.0.2.1/24")
			b.node.removeAddress("up0", "192.0.2.1/24")
		}, want: Event{Addresses: true, RemovedAddresses: addrs("192.0.2.1", "192.0.2.1")}},
		{name: "a route", change: func(b *busyNode) { b.node.route("198.51.100.0/24", server4) }, want: Event{Routes: true}},
		{name: "an IPv6 default route that goes", change: func(b *busyNode) {
			b.node.must(b.node.RouteDel(routeOf("::/0", server6)))
		}, want: Event{Routes: true}},
		{name: "a default route elsewhere", change: func(b *busyNode) {
			b.node.must(b.node.RouteReplace(routeOf("0.0.0.0/0", "192.0.2.2")))
		}, want: Event{Routes: true}},
		{name: "a rule", change: func(b *busyNode) { b.node.ip("rule add from 10.9.0.0/16 lookup 1000") }, want: Event{Routes: true}},
		{name: "an IPv6 rule", change: func(b *busyNode) { b.node.ip("-6 rule add fwmark 7 lookup 77") }, want: Event{Routes: true}},
		{name: "a nexthop object that changes", before: func(b *busyNode) {
			b.node.ip("nexthop add id 7 via 192.0.2.2 dev idle0\nroute add 198.51.100.0/24 nhid 7")
		}, change: func(b *busyNode) { b.node.ip("nexthop replace id 7 via 10.0.0.2 dev up0") }, want: Event{Routes: true}},
		{name: "net.ipv4.ip_forward", before: func(b *busyNode) {
			b.node.sysctl("net/ipv4/ip_forward", "1")
		}, change: func(b *busyNode) { b.node.sysctl("net/ipv4/ip_forward", "0") }, want: Event{Forwarding: true}},
		{name: "forwarding of one link", change: func(b *busyNode) {
			b.node.sysctl("net/ipv4/conf/up0/forwarding", "0")
		}, want: Event{Forwarding: true}},
		{name: "IPv6 forwarding", before: func(b *busyNode) {
			b.node.sysctl("net/ipv6/conf/all/forwarding", "1")
		}, change: func(b *busyNode) {
			b.node.sysctl("net/ipv6/conf/all/forwarding", "0")
		}, want: Event{Forwarding: true}},
		{name: "IPv6 forwarding of one link", change: forced("0"), want: Event{Forwarding: true}},
		{name: "IPv6 forwarding of all links, one by one", before: func(b *busyNode) {
			if beforeLinux617() {
				b.node.sysctl("net/ipv6/conf/all/forwarding", "1")
				return
			}
			b.node.sysctl("net/ipv6/conf/all/force_forwarding", "1")
		}, change: func(b *busyNode) {
			if beforeLinux617() {
				b.node.sysctl("net/ipv6/conf/all/forwarding", "0")
				return
			}
			b.node.sysctl("net/ipv6/conf/all/force_forwarding", "0")
		}, want: Event{Forwarding: true}},

		// What follows is noise.
		{name: "nothing", change: func(*busyNode) {}},
		{name: "what does not matter of a link", change: func(b *busyNode) {
			up0 := b.node.link("up0")
			b.node.must(b.node.LinkSetAlias(up0, "the uplink"))
			b.node.must(b.node.SetPromiscOn(up0))
			b.node.must(b.node.LinkSetTxQLen(up0, 77))
		}},
		{name: "a port that leaves a bridge", before: func(b *busyNode) {
			b.node.must(b.node.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}))
			b.node.must(b.node.LinkSetMaster(b.node.link("idle0"), b.node.link("br0")))
		}, change: func(b *busyNode) { b.node.must(b.node.LinkSetNoMaster(b.node.link("idle0"))) }},
		{name: "lifetimes of addresses", change: func(b *busyNode) {
			for n := range 3 {
				for _, p := range []string{"192.0.2.1/24", "2001:db8::1/64"} {
					a, err := netlink.ParseAddr(p)
					b.node.must(err)
					a.ValidLft, a.PreferedLft = 1000+n, 1000+n
					b.node.must(b.node.AddrReplace(b.node.link("idle0"), a))
				}
			}
		}},
		{name: "an address that goes while the kernel looks for duplicates", before: func(b *busyNode) {
			b.node.sysctl("net/ipv6/conf/idle0/dad_transmits", "30") // for half a minute
		}, change: func(b *busyNode) {
			a, err := netlink.ParseAddr("2001:db8::7/64")
			b.node.must(err)
			b.node.must(b.node.AddrAdd(b.node.link("idle0"), a))
			b.node.removeAddress("idle0", "2001:db8::7/64")
		}},
		{name: "addresses that are not global", change: func(b *busyNode) {
			for _, p := range []string{"169.254.7.7/16", "fe80::7/64", "127.0.0.7/8"} {
				b.node.addr("idle0", p)
				b.node.removeAddress("idle0", p)
			}
		}},
		{name: "forwarding that is turned on", before: func(b *busyNode) {
			b.node.sysctl("net/ipv4/conf/up0/forwarding", "0")
			b.node.sysctl(forwarding6Key("up0"), "0")
		}, change: func(b *busyNode) {
			b.node.sysctl("net/ipv4/conf/up0/forwarding", "1")
			b.node.sysctl(forwarding6Key("up0"), "1")
			b.node.sysctl("net/ipv4/ip_forward", "1")
		}},
		{name: "forwarding of links to come", change: func(b *busyNode) {
			b.node.sysctl("net/ipv4/conf/default/forwarding", "1")
			b.node.sysctl("net/ipv4/conf/default/forwarding", "0")
		}},
		{name: "a route to a container", change: func(b *busyNode) {
			for _, dst := range []string{"10.88.0.77/32", "fd00:88::77/128"} {
				r := routeOf(dst, "")
				r.LinkIndex = b.node.link(b.pair.HostName).Attrs().Index
				b.node.must(b.node.RouteAdd(r))
			}
		}},
		{name: "containers that come", change: func(b *busyNode) {
			for n := range 5 {
				mustAdd(t, b.conn, pair(newSpace(t), 100+n, "4", "6"))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBusyNode(t)
			if c.before != nil {
				c.before(b)
			}
			b.ear.received()
			c.change(b)
			if c.damaged {
				c.want.Damaged = []int{b.index}
			}
			if got := sum(b.ear.received()); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// A container that goes takes its routes along: no word of them.
func TestWatchOfAContainersLife(t *testing.T) {
	b := newBusyNode(t)
	p := pair(newSpace(t), 6, "4", "6")
	index := mustAdd(t, b.conn, p).HostIndex
	if got := b.ear.received(); len(got) != 0 {
		t.Errorf("Add: %+v", got)
	}
	if err := b.conn.Delete(p.hostLink()); err != nil {
		t.Fatal(err)
	}
	if got := b.ear.received(); len(got) == 0 || !reflect.DeepEqual(sum(got), Event{Links: true, Damaged: []int{index}}) {
		t.Errorf("Delete: %+v", got)
	}
}

// An address is reported when it is usable, after duplicate address detection.
func TestWatchTentativeAddress(t *testing.T) {
	b := newBusyNode(t)
	a, err := netlink.ParseAddr("2001:db8::7/64")
	b.node.must(err)
	b.node.must(b.node.AddrAdd(b.node.link("idle0"), a))
	if v := b.ear.next(); !reflect.DeepEqual(v, Event{Addresses: true}) {
		t.Errorf("the address: %+v", v)
	}
	r, err := b.node.RouteGet(a.IP)
	b.node.must(err)
	if r[0].Type != unix.RTN_LOCAL {
		t.Errorf("it was reported before it is usable: %v", r)
	}
}

// A repeated router advertisement gives no event, although the kernel sends a notification
// for each.
func TestWatchOfRouterAdvertisements(t *testing.T) {
	node, router := newSpace(t), newSpace(t)
	cable(node, "up0", router, "r0")
	node.settled("up0")
	router.settled("r0")
	e := node.listen(node.open())
	updates := make(chan netlink.AddrUpdate, 1000)
	done := make(chan struct{})
	defer close(done)
	ns := netns.NsHandle(node.fd)
	node.must(netlink.AddrSubscribeWithOptions(updates, done, netlink.AddrSubscribeOptions{Namespace: &ns}))

	router.announcePrefix("r0", "2001:db8::")
	if v := e.next(); !reflect.DeepEqual(v, Event{Routes: true}) {
		t.Errorf("the default route: %+v", v)
	}
	if v := e.next(); !reflect.DeepEqual(v, Event{Addresses: true}) {
		t.Errorf("the address: %+v", v)
	}
	e.received()
	for len(updates) > 0 {
		<-updates
	}
	for n := range 5 {
		router.announcePrefix("r0", "2001:db8::")
		node.await(fmt.Sprintf("the kernel's notification of advertisement %d", n), func() bool { return len(updates) > n })
	}
	if got := e.received(); len(got) != 0 {
		t.Errorf("the same again: %+v", got)
	}
}

// announcePrefix is announce with a prefix to make an address of (RFC 4861, section
// 4.6.2).
func (s *space) announcePrefix(device, prefix string) {
	s.t.Helper()
	index := s.link(device).Attrs().Index
	ra := []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0}
	ra = append(ra, 3, 4, 64, 0xc0, 0, 1, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0)
	ra = append(ra, net.ParseIP(prefix)...)
	s.do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
			return err
		}
		to := &unix.SockaddrInet6{ZoneId: uint32(index)}
		copy(to.Addr[:], net.ParseIP("ff02::1"))
		return unix.Sendto(fd, ra, 0, to)
	})
}

// After lost notifications, an event reports the loss and the addresses that were removed,
// and later changes are reported.
func TestWatchLostNotifications(t *testing.T) {
	b := newBusyNode(t)
	later, err := netlink.ParseAddr("10.0.7.7/24")
	b.node.must(err)
	for _, buffer := range []int{4096, watchBuffer} {
		x, err := b.conn.watch(buffer)
		if err != nil {
			t.Fatal(err)
		}
		up0 := b.node.link("up0")
		for n := range 200 { // without a reader
			b.node.must(b.node.LinkSetMTU(up0, 1400+n%2))
		}
		b.node.removeAddress("idle0", "192.0.2.1/24")
		e := b.node.run(x, func(v Event) {
			if v.Lost {
				_ = b.node.AddrReplace(up0, later) // next fails without it
			}
		})
		got := e.next()
		for !got.Lost && len(got.RemovedAddresses) == 0 {
			got = e.next()
		}
		if want := addrs("192.0.2.1"); !slices.Equal(got.RemovedAddresses, want) {
			t.Errorf("removed addresses %v, want %v", got.RemovedAddresses, want)
		}
		if lost := buffer < watchBuffer; got.Lost != lost {
			t.Errorf("with a buffer of %d bytes: lost is %v", buffer, got.Lost)
		} else if lost {
			if v := e.next(); !reflect.DeepEqual(v, Event{Addresses: true}) {
				t.Errorf("after the loss: %+v", v)
			}
		}
		b.node.addr("idle0", "192.0.2.1/24")
	}
}

// A Watcher works after its Conn is closed, and closes all files.
func TestWatchEnds(t *testing.T) {
	node := newSpace(t)
	before := files(t)
	for range 3 {
		var w *Conn
		node.do(func() (err error) {
			w, err = Open()
			return err
		})
		x, err := w.Watch()
		if err != nil {
			t.Fatal(err)
		}
		node.must(w.Close())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- x.Run(ctx, func(Event) { cancel() }) }()
		node.addr("lo", "192.0.2.1/32")
		select {
		case err := <-ended:
			node.must(err)
		case <-time.After(10 * time.Second):
			t.Fatal("it did not hear of an address, or did not end")
		}
		node.removeAddress("lo", "192.0.2.1/32")
	}
	if after := files(t); after > before {
		t.Errorf("there were %d files open, there are %d", before, after)
	}
}

func files(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// The state of 50,000 links takes less memory than the kernel's answer about 3,000.
func TestWatchMemory(t *testing.T) {
	const links = 50_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	k := observed{links: map[int32]linkState{}}
	for n := range links {
		m := newMessage(unix.RTM_NEWLINK, 0, "", unix.IfInfomsg{Index: int32(n + 1)})
		m.NativeUint32(unix.IFLA_GROUP, 0)
		m.NativeUint32(unix.IFLA_MTU, 1500)
		if changed, _ := k.link(m.Encoder); !changed {
			t.Fatal("a new link is no change")
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := int(after.HeapAlloc-before.HeapAlloc) / links
	t.Logf("%d bytes for each link", each)
	if len(k.links) != links || each > 100 {
		t.Errorf("%d links, %d bytes for each", len(k.links), each)
	}
}

// A dump may lack an address while interfaces are deleted.
func TestWatchDeletedUnknownAddress(t *testing.T) {
	k := observed{addresses: map[netip.Addr][]addressPlace{}}
	a := netip.MustParsePrefix("2001:db8::1/64")
	for flags, want := range map[uint32]bool{0: true, unix.IFA_F_TENTATIVE: false} {
		body := addAddress(a, flags, 7, "").Encoder
		if changed, removed := k.addressDeleted(body); changed != want || removed.IsValid() != want {
			t.Errorf("flags %d: changed %t, removed %v", flags, changed, removed)
		}
	}
}

func FuzzObserved(f *testing.F) {
	link := newMessage(unix.RTM_NEWLINK, 0, "", unix.IfInfomsg{Index: 7})
	link.NativeUint32(unix.IFLA_GROUP, 0)
	f.Add([]byte(link.Encoder))
	f.Add([]byte(addAddress(netip.MustParsePrefix("192.0.2.1/24"), 0, 7, "").Encoder))
	f.Add([]byte(addAddress(netip.MustParsePrefix("2001:db8::1/64"), 0, 7, "").Encoder))
	f.Add([]byte(route{dst: netip.MustParsePrefix("192.0.2.0/24"), index: 7}.addRoute("", 0).Encoder))
	netconf := newMessage(unix.RTM_NEWNETCONF, 0, "", familyHeader{unix.AF_INET6})
	netconf.NativeUint32(netconfIndex, 7)
	f.Add([]byte(netconf.Encoder))
	f.Fuzz(func(t *testing.T, b []byte) {
		k := observed{links: map[int32]linkState{}, addresses: map[netip.Addr][]addressPlace{}}
		k.link(b)
		if changed, damaged := k.link(b); changed || damaged != 0 {
			t.Error("the same link is a change again")
		}
		k.address(b)
		if k.address(b) {
			t.Error("the same address is a change again")
		}
		k.route(unix.RTM_DELROUTE, b)
		k.gatewayDeleted(b)
		readForwarding(b)
		if _, removed := k.addressDeleted(b); removed.IsValid() && !removed.IsGlobalUnicast() {
			t.Errorf("%s is not a global address", removed)
		}
		k.linkDeleted(b)
		if len(k.addresses) > 0 || len(k.links) > 0 && len(b) > 0 && b[0] == unix.AF_UNSPEC {
			t.Errorf("deleted objects are still stored: %+v", k)
		}
	})
}
