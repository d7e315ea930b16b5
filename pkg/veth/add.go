package veth

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// gateway4 is the IPv4 next hop of every container: an address that no
// interface has. The container knows the MAC that belongs to it from the start.
var gateway4 = netip.MustParseAddr("169.254.1.1")

// Add makes a link, or nothing. What a killed Add of the same identity left is
// replaced. Its transactions with the kernel, each one sendmsg:
//
//	host       is the name free?
//	host       how does the node forward, and through what?
//	host       make the pair, name its owner: done or not done, even when killed
//	container  up, addresses, neighbour, routes
//	host       up, routes to the addresses
//	host       are they taken?
//	both       do packets pass yet?
//
// and settings in /proc/sys/net/ipv6 that netlink has no request for.
//
// When it returns, both ends carry traffic and all addresses are usable.
func (c *Conn) Add(p Pair) (l Link, err error) {
	if err := p.Validate(); err != nil {
		return Link{}, err
	}
	ns, err := openNamespace(p.NetNS)
	if err != nil {
		return Link{}, err
	}
	defer ns.close()
	if same, err := ns.same(c.node); err != nil {
		return Link{}, err
	} else if same {
		return Link{}, fmt.Errorf("network namespace %s is the node's own", p.NetNS)
	}
	// A link of this identity is what an Add that was killed left behind.
	left, err := c.findNamed(masq.HostLink{Name: p.HostName, Alias: p.Identity})
	if err == nil && left.index != 0 {
		err = c.host.deleteLink(left.index, left.name)
	}
	if err != nil {
		return Link{}, err
	}
	families := p.families()
	f6, err := c.forwarding6(families)
	if err != nil {
		return Link{}, err
	}
	missing, err := c.unforwarded(families, f6)
	if err != nil {
		return Link{}, err
	}
	if err := c.node.apply(missing); err != nil {
		return Link{}, err
	}

	host, l, err := c.create(p, ns)
	if err != nil {
		return Link{}, err
	}
	defer func() {
		if err != nil {
			l, err = Link{}, errors.Join(err, c.host.deleteLink(host.index, host.name))
		}
	}()
	// Before the ends are up: until then nothing enters.
	own, err := hostSettings(host, families, f6)
	if err != nil {
		return l, err
	}
	if err := c.node.apply(own); err != nil {
		return l, err
	}
	container, err := ns.dial()
	if err != nil {
		return l, err
	}
	defer container.close()
	if err := furnish(container, ns, p, l, host.peer); err != nil {
		return l, err
	}
	if err := c.connect(p, l, host); err != nil {
		return l, err
	}
	return l, c.settle(container, p, l, host.peer)
}

// create makes the pair, both ends down and in their final namespaces, and marks
// the host's end as ours.
func (c *Conn) create(p Pair, ns namespace) (host device, l Link, err error) {
	l = Link{HostName: p.HostName, MTU: p.MTU, HostMAC: newMAC(), MAC: newMAC()}
	if p.has(masq.IPv4) {
		l.Gateway4 = gateway4
	}
	if p.has(masq.IPv6) {
		l.Gateway6 = linkLocal(l.HostMAC)
	}
	made := newMessage(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		fmt.Sprintf("make interface %s with the other end %s in network namespace %s", p.HostName, p.Interface, p.NetNS))
	addPair(made, p, l, ns)
	// Every supported kernel has these settings; connect makes the other one.
	conf := setConf4(slices.DeleteFunc(p.conf4(), func(c conf4) bool { return c == conf4KeepProxies })...)
	found := getByName(p.HostName)
	err = c.host.exchange(
		made,
		// The kernel takes neither of these when a link is made. They go by
		// name, since the index is not known yet: Add has seen that the name is
		// not another's.
		setLink("set the alias and the IPv4 settings", 0, p.HostName, nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(p.Identity)), conf),
		keepKernelFromAddressing(0, p.HostName, !p.has(masq.IPv6)),
		found,
	)
	switch {
	case errors.Is(made.err, unix.EEXIST) && found.err != nil: // the host's name is free
		return host, l, fmt.Errorf("interface %s in network namespace %s exists already: %w", p.Interface, p.NetNS, made.failed())
	case made.err != nil:
		return host, l, made.failed()
	}
	if err == nil {
		host, err = found.device()
	}
	if err != nil {
		m := newMessage(unix.RTM_DELLINK, 0, "delete interface "+p.HostName, infoOf(0), nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(p.HostName)))
		return host, l, errors.Join(err, c.host.exchange(m))
	}
	l.HostIndex = host.index
	return host, l, nil
}

// addPair completes the request for a veth pair.
func addPair(m *message, p Pair, l Link, ns namespace) {
	mtu := nl.Uint32Attr(uint32(p.MTU))
	one := nl.Uint32Attr(1) // queue: a veth has as many as there are CPUs otherwise
	m.add(infoOf(0))
	m.add(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(p.HostName)))
	m.add(nl.NewRtAttr(unix.IFLA_MTU, mtu))
	m.add(nl.NewRtAttr(unix.IFLA_NUM_TX_QUEUES, one))
	m.add(nl.NewRtAttr(unix.IFLA_NUM_RX_QUEUES, one))
	// A MAC that is given has addr_assign_type NET_ADDR_SET, and udev leaves it
	// alone (MACAddressPolicy=persistent of systemd.link); one that the kernel
	// draws would be replaced a moment after the container has learnt it.
	m.add(nl.NewRtAttr(unix.IFLA_ADDRESS, l.HostMAC))
	m.add(uint32Attr(unix.IFLA_GROUP, p.group()))

	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	peer.AddChild(nl.NewIfInfomsg(unix.AF_UNSPEC))
	peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(p.Interface))
	peer.AddRtAttr(unix.IFLA_MTU, mtu)
	peer.AddRtAttr(unix.IFLA_NUM_TX_QUEUES, one)
	peer.AddRtAttr(unix.IFLA_NUM_RX_QUEUES, one)
	peer.AddRtAttr(unix.IFLA_ADDRESS, l.MAC)
	// Made where it stays: moving a link waits for RCU.
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(ns.fd)))
	m.add(info)
}

// newMAC draws a locally administered unicast address.
func newMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	rand.Read(mac) // never fails
	mac[0] = mac[0]&^1 | 2
	return mac
}
