package veth

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"golang.org/x/sys/unix"
)

// configureHost sets the host's end up, with its addresses, its proxy neighbor and the
// routes to the container. It makes no neighbor entry for the container: the tuning plugin
// may change the container's MAC.
//
// The host's end is set up after the container's, so that it has a carrier at once. For
// each change of an interface's state the kernel walks all IPv6 routes of the namespace
// (rt6_sync_up in net/ipv6/route.c): many on the node, few in the container.
func (c *Conn) configureHost(p Pair, l Link, host device) error {
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
		ms = append(ms, addProxy(gateway4, l.HostIndex, where)...)
	}
	if p.has(masq.IPv6) {
		// Without the route fe80::/64: the kernel has one list of the interfaces with the
		// same prefix, and would search it here and for each packet. Neighbor discovery
		// needs no route (icmp6_dst_alloc).
		ms = append(ms, addAddress(linkLocalPrefix(l.Gateway6), unix.IFA_F_NOPREFIXROUTE, l.HostIndex, where))
	}
	first := len(ms)
	for _, a := range addresses {
		ms = append(ms, hostRoute(a, l, unix.NLM_F_EXCL))
	}
	_ = c.host.exchange(ms...) // firstFailed reads the errors
	for i, a := range addresses {
		if m := ms[first+i]; errors.Is(m.err, unix.EEXIST) {
			m.err = c.addressInUse(a, l)
		}
	}
	if err := firstFailed(ms); err != nil {
		return err
	}
	return c.checkRoutes(addresses, l)
}

// checkRoutes returns an error if packets of the node do not take the new routes: another
// route may have a lower metric, a rule may lead elsewhere (ip-rule(8)), or the address may
// be the node's.
func (c *Conn) checkRoutes(addresses []netip.Addr, l Link) error {
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
			return fmt.Errorf("%s is an address of the node: a container cannot have it", addresses[i])
		case !found || way.index != l.HostIndex:
			return fmt.Errorf("the node does not route %s to interface %s, although that route exists (see: ip route get %s)", addresses[i], l.HostName, addresses[i])
		}
	}
	return nil
}

// hostRoute returns the request for the node's route to an address of the container. It has
// the protocol of routes that the kernel makes, since systemd-networkd deletes others
// (ManageForeignRoutes=).
func hostRoute(a netip.Addr, l Link, flags int) *message {
	to := route{dst: hostPrefix(a), index: l.HostIndex, protocol: unix.RTPROT_KERNEL}
	return to.addRoute("interface "+l.HostName, flags)
}

// hostPrefix returns the prefix of one address: /32 or /128.
func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// AddressInUseError means that the node already routes an address of the container to
// another interface.
type AddressInUseError struct {
	Address   netip.Addr
	Interface string
	// Identity names the interface's attachment. It is empty if the plugin did not make the
	// interface.
	Identity string
}

// Error names the address and the interface.
func (e *AddressInUseError) Error() string {
	return fmt.Sprintf("the node already has a route to %s through interface %s", e.Address, e.Interface)
}

// addressInUse returns the error of a route that Add could not make because another route
// to the address exists. For a route without an interface, such as a prohibit route, that
// is unix.EEXIST.
func (c *Conn) addressInUse(a netip.Addr, l Link) error {
	p, found, err := c.host.lookUpPath(a, 0)
	if err != nil {
		return err
	}
	if !found { // deleted meanwhile, or a prohibit route
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
	e := &AddressInUseError{Address: a, Interface: d.name}
	if d.isManaged() {
		e.Identity = d.alias
	}
	return e
}

// RestoreRoutes makes the node's routes to addresses lead to an attachment's link again. A
// missing link is no error.
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
