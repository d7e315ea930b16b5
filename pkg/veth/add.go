package veth

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"golang.org/x/sys/unix"
)

// gateway4 is the IPv4 next hop of every container. No interface has this address: Add
// gives the container a permanent neighbor entry for it.
var gateway4 = netip.MustParseAddr("169.254.1.1")

// Add makes the link of a pair. If it fails, it leaves nothing. It replaces the link that a
// killed Add of the same identity left. Its exchanges with the kernel, each one sendmsg
// except the second:
//
//	host       look up the name
//	host       look up the uplinks and whether they forward
//	host       make the pair and set its alias: complete or not at all, even if killed
//	container  set up, add addresses, neighbor and routes
//	host       set up, add routes to the addresses
//	host       look up whether packets take these routes
//	both       look up whether both ends carry traffic
//
// It also writes settings in /proc/sys/net/ipv6 that netlink has no request for.
//
// When Add returns, both ends carry traffic and all addresses are usable.
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
		return Link{}, fmt.Errorf("network namespace %s is the node's", p.NetNS)
	}
	// A link of this identity was left by a killed Add.
	left, err := c.findNamed(p.hostLink())
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
	missing, err := c.missingForwarding(families, f6)
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
	// No packet enters before the ends are up.
	own, err := hostSettings(host, families, f6)
	if err != nil {
		return l, err
	}
	if err := c.node.apply(own); err != nil {
		return l, err
	}
	container, err := ns.dial(nodeBuffer)
	if err != nil {
		return l, err
	}
	defer container.close()
	if err := configureContainer(container, ns, p, l, host.peer); err != nil {
		return l, err
	}
	if err := c.configureHost(p, l, host); err != nil {
		return l, err
	}
	return l, c.waitUntilReady(container, p, l, host.peer)
}

// create makes the pair, with both ends down and in their final namespaces, and sets the
// alias of the host's end.
func (c *Conn) create(p Pair, ns namespace) (host device, l Link, err error) {
	l = Link{HostName: p.HostName, MTU: p.MTU, HostMAC: newMAC(), MAC: newMAC()}
	if p.has(masq.IPv4) {
		l.Gateway4 = gateway4
	}
	if p.has(masq.IPv6) {
		l.Gateway6 = linkLocal(l.HostMAC)
	}
	made := newMessage(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		fmt.Sprintf("make interface %s with the other end %s in network namespace %s", p.HostName, p.Interface, p.NetNS), unix.IfInfomsg{})
	addPair(made, p, l, ns)
	// The kernel does not accept alias and settings when a link is made. The interface is
	// named by its name, since its index is not known yet: Add has checked that no other
	// interface has the name.
	marked := setLink("set the alias and the IPv4 settings", 0, p.HostName)
	marked.Bytes(unix.IFLA_IFALIAS, []byte(p.Identity))
	// Every supported kernel has these settings. configureHost sets conf4KeepProxies, if the
	// kernel has it.
	marked.setConf4(slices.DeleteFunc(p.conf4(), func(c conf4) bool { return c == conf4KeepProxies })...)
	found := getByName(p.HostName)
	err = c.host.exchange(made, marked, disableAutoAddresses(0, p.HostName, !p.has(masq.IPv6)), found)
	switch {
	case errors.Is(made.err, unix.EEXIST) && found.err != nil: // the host's end does not exist
		return host, l, fmt.Errorf("interface %s in network namespace %s already exists: %w", p.Interface, p.NetNS, made.failed())
	case made.err != nil:
		return host, l, made.failed()
	}
	if err == nil {
		host, err = found.device()
	}
	if err != nil {
		m := newMessage(unix.RTM_DELLINK, 0, "delete interface "+p.HostName, unix.IfInfomsg{})
		m.Text(unix.IFLA_IFNAME, p.HostName)
		return host, l, errors.Join(err, c.host.exchange(m))
	}
	l.HostIndex = host.index
	return host, l, nil
}

// addPair completes the request for a veth pair.
func addPair(m *message, p Pair, l Link, ns namespace) {
	const vethInfoPeer = 1 // VETH_INFO_PEER of linux/veth.h
	addEnd(m, p.HostName, p.MTU, l.HostMAC)
	m.NativeUint32(unix.IFLA_GROUP, p.group())
	info := m.Begin(unix.IFLA_LINKINFO)
	m.Bytes(unix.IFLA_INFO_KIND, []byte("veth"))
	data := m.Begin(unix.IFLA_INFO_DATA)
	peer := m.Begin(vethInfoPeer)
	m.Encoder = append(m.Encoder, encodeHeader(unix.IfInfomsg{})...)
	addEnd(m, p.Interface, p.MTU, l.MAC)
	// The peer is made in its final namespace: moving a link waits for RCU.
	m.NativeUint32(unix.IFLA_NET_NS_FD, uint32(ns.fd))
	m.End(peer)
	m.End(data)
	m.End(info)
}

// addEnd appends the attributes that both ends of a pair have.
func addEnd(m *message, name string, mtu int, mac net.HardwareAddr) {
	m.Text(unix.IFLA_IFNAME, name)
	m.NativeUint32(unix.IFLA_MTU, uint32(mtu))
	// Without a number, the kernel makes one queue for each CPU.
	m.NativeUint32(unix.IFLA_NUM_TX_QUEUES, 1)
	m.NativeUint32(unix.IFLA_NUM_RX_QUEUES, 1)
	// udev replaces a MAC that the kernel drew (MACAddressPolicy=persistent of
	// systemd.link), after the container has learned it. A MAC that was set has
	// addr_assign_type NET_ADDR_SET, and udev does not change it.
	m.Bytes(unix.IFLA_ADDRESS, mac)
}

// newMAC returns a random unicast MAC with the locally administered bit.
func newMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	rand.Read(mac) // it never returns an error
	mac[0] = mac[0]&^1 | 2
	return mac
}
