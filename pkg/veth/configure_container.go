package veth

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"golang.org/x/sys/unix"
)

// configureContainer sets the container's end up, with its addresses, routes and neighbor.
// The runtime sets lo up.
func configureContainer(c *socket, ns namespace, p Pair, l Link, index int) error {
	where := fmt.Sprintf("interface %s in network namespace %s", p.Interface, p.NetNS)
	if p.MTUProbing {
		if err := enableMTUProbing(ns); err != nil {
			return err
		}
	}
	if p.has(masq.IPv6) {
		if err := enableIPv6(c, ns, index, where); err != nil {
			return err
		}
	}
	ms := []*message{
		disableAutoAddresses(index, p.Interface, !p.has(masq.IPv6)),
		bringUp(index, where),
	}
	if p.has(masq.IPv6) {
		// Neighbor discovery uses it as its source.
		ms = append(ms, addAddress(linkLocalPrefix(masq.ContainerLinkLocal), 0, index, where))
	}
	for _, a := range p.Addresses {
		// Without the prefix route: the link has one other end, and all packets go to the
		// gateway.
		ms = append(ms, addAddress(a, unix.IFA_F_NOPREFIXROUTE, index, where))
	}
	if p.has(masq.IPv4) {
		// Appended, since another link of the plugin in this container has the same route.
		to := route{dst: netip.PrefixFrom(gateway4, 32), index: index, protocol: unix.RTPROT_STATIC}
		ms = append(ms, to.addRoute(where, unix.NLM_F_APPEND), addNeighbor(gateway4, l.HostMAC, index, where))
	}
	first, routes := len(ms), p.routes()
	for _, r := range routes {
		to := containerRoute(r, l.Gateway(masq.FamilyOf(r.Dst.Addr())), index)
		ms = append(ms, to.addRoute(where, unix.NLM_F_EXCL))
	}
	err := c.exchange(ms...)
	for i, r := range routes {
		if m := ms[first+i]; r.Dst.Bits() == 0 && errors.Is(m.err, unix.EEXIST) {
			return fmt.Errorf("network namespace %s already has a default route, so %s cannot have one: list the routes of this network in ipam.routes: %w",
				p.NetNS, p.Interface, m.failed())
		}
	}
	return err
}

// enableIPv6 enables IPv6 on the interface: several runtimes make the namespace with
// net.ipv6.conf.default.disable_ipv6=1. It also sets keep_addr_on_down, so that global
// IPv6 addresses stay while the interface is down, as IPv4 addresses do.
func enableIPv6(c *socket, ns namespace, index int, where string) error {
	m := getByIndex(index)
	if err := c.exchange(m); err != nil {
		return err
	}
	d, err := m.device()
	if err != nil {
		return err
	}
	off, ok := d.setting6(devconf6DisableIPv6)
	if !ok {
		return fmt.Errorf("%s has no IPv6: is it turned off on this node?", where)
	}
	var settings []setting
	if off != 0 {
		settings = append(settings, setting{"ipv6", d.name, "disable_ipv6", 0})
	}
	if keep, _ := d.setting6(devconf6KeepAddrOnDown); keep <= 0 {
		settings = append(settings, setting{"ipv6", d.name, "keep_addr_on_down", 1})
	}
	return ns.apply(settings)
}
