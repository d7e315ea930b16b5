package veth

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"golang.org/x/sys/unix"
)

// connect gives the host's end what it needs for traffic to the container. The
// container's MAC is left to ARP and neighbour discovery: the tuning plugin may
// change it.
//
// The host's end comes up last, so that it has a carrier at once. For each
// change of an interface's state the kernel walks all IPv6 routes of the
// namespace (rt6_sync_up in net/ipv6/route.c), which are many on the node and
// few in the container.
func (c *Conn) connect(p Pair, l Link, host device) error {
	where := "interface " + l.HostName
	var more []conf4
	for _, c := range p.conf4() {
		if _, differs := c.differs(host); differs {
			more = append(more, c)
		}
	}
	up := bringUp(l.HostIndex, where)
	if len(more) > 0 {
		up.setConf4(more...)
	}
	ms := []*message{up}
	var addresses []netip.Addr
	for _, a := range p.Addresses {
		addresses = append(addresses, a.Addr())
	}
	if p.has(masq.IPv4) {
		ms = append(ms, answerFor(gateway4, l.HostIndex, where)...)
	}
	if p.has(masq.IPv6) {
		// Without fe80::/64: the kernel has one list of the interfaces with
		// the same prefix, and would search it here and with each packet.
		// Neighbour discovery needs no route (icmp6_dst_alloc).
		ms = append(ms, addAddress(linkLocalPrefix(l.Gateway6), unix.IFA_F_NOPREFIXROUTE, l.HostIndex, where))
	}
	first := len(ms)
	for _, a := range addresses {
		ms = append(ms, hostRoute(a, l, unix.NLM_F_EXCL))
	}
	_ = c.host.exchange(ms...) // firstFailed reads the errors
	for i, a := range addresses {
		if m := ms[first+i]; errors.Is(m.err, unix.EEXIST) {
			m.err = c.taken(a, l)
		}
	}
	if err := firstFailed(ms); err != nil {
		return err
	}
	return c.confirm(addresses, l)
}

// confirm sees to it that the node finds its containers: a route may be there
// and not be taken, for one with a better metric, for a rule (ip-rule(8)), or
// because the address is the node's own.
func (c *Conn) confirm(addresses []netip.Addr, l Link) error {
	var ms []*message
	for _, a := range addresses {
		ms = append(ms, lookUpRoute(a, 0))
	}
	_ = c.host.exchange(ms...) // path reads the errors
	for i, m := range ms {
		way, found, err := m.path()
		switch {
		case err != nil:
			return err
		case found && way.kind == unix.RTN_LOCAL:
			return fmt.Errorf("%s is an address of the node, and cannot be one of its containers", addresses[i])
		case !found || way.index != l.HostIndex:
			return fmt.Errorf("the node does not route %s to interface %s, though there is a route (see: ip route get %s)", addresses[i], l.HostName, addresses[i])
		}
	}
	return nil
}

// hostRoute is the node's way to an address of the container. It says that it
// comes from the kernel, as those that come with an address do: that keeps
// systemd-networkd from removing it as foreign (ManageForeignRoutes=).
func hostRoute(a netip.Addr, l Link, flags int) *message {
	to := via{dst: hostPrefix(a), index: l.HostIndex, protocol: unix.RTPROT_KERNEL}
	return to.addRoute("interface "+l.HostName, flags)
}

// hostPrefix is the prefix of one address.
func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// TakenError says that the node routes an address of the container to an interface
// that is not the container's.
type TakenError struct {
	Address   netip.Addr
	Interface string
	// Identity is the attachment's whose link the interface is, and empty if the
	// interface is not a link of ours.
	Identity string
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("the node has a route to %s already, through interface %s", e.Address, e.Interface)
}

// taken returns what has the route to an address that Add could not make. A route
// without an interface, such as one that prohibits, is unix.EEXIST.
func (c *Conn) taken(a netip.Addr, l Link) error {
	p, found, err := c.host.pathTo(a, 0)
	if err != nil {
		return err
	}
	if !found { // gone meanwhile, or one that forbids
		return c.host.exchange(hostRoute(a, l, unix.NLM_F_EXCL))
	}
	m := getByIndex(p.index)
	if err := c.host.exchange(m); err != nil {
		return err
	}
	d, err := m.device()
	if err != nil {
		return err
	}
	e := &TakenError{Address: a, Interface: d.name}
	if d.isManaged() {
		e.Identity = d.alias
	}
	return e
}

// RestoreRoutes makes the node's routes to addresses lead to a link of ours. It is no
// error when the link is gone.
func (c *Conn) RestoreRoutes(hostName, identity string, addresses []netip.Addr) error {
	d, err := c.host.find(hostName)
	if errors.Is(err, errNoDevice) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := d.checkIdentity(hostName, identity); err != nil {
		return err
	}
	var ms []*message
	for _, a := range addresses {
		ms = append(ms, hostRoute(a, Link{HostName: hostName, HostIndex: d.index}, unix.NLM_F_REPLACE))
	}
	return c.host.exchange(ms...)
}
