package veth

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"golang.org/x/sys/unix"
)

// furnish sets the container's end up. lo is the runtime's to bring up.
func furnish(c *socket, ns namespace, p Pair, l Link, index int) error {
	where := fmt.Sprintf("interface %s in network namespace %s", p.Interface, p.NetNS)
	if p.has(masq.IPv6) {
		if err := enableIPv6(c, ns, index, where); err != nil {
			return err
		}
	}
	ms := []*message{
		keepKernelFromAddressing(index, p.Interface, !p.has(masq.IPv6)),
		bringUp(index, where),
	}
	if p.has(masq.IPv6) {
		// Neighbour discovery asks from it.
		ms = append(ms, addAddress(linkLocalPrefix(masq.ContainerLinkLocal), 0, index, where))
	}
	for _, a := range p.Addresses {
		// No neighbours behind a link with two ends: everything is the
		// gateway's to deliver.
		ms = append(ms, addAddress(a, unix.IFA_F_NOPREFIXROUTE, index, where))
	}
	if p.has(masq.IPv4) {
		// Appended: a second link of ours in the same container has it too.
		to := via{dst: netip.PrefixFrom(gateway4, 32), index: index, protocol: unix.RTPROT_STATIC}
		ms = append(ms, to.addRoute(where, unix.NLM_F_APPEND), addNeighbour(gateway4, l.HostMAC, index, where))
	}
	first, routes := len(ms), p.routes()
	for _, r := range routes {
		to := viaOf(r, l.Gateway(masq.FamilyOf(r.Dst.Addr())), index)
		ms = append(ms, to.addRoute(where, unix.NLM_F_EXCL))
	}
	err := c.exchange(ms...)
	for i, r := range routes {
		if m := ms[first+i]; r.Dst.Bits() == 0 && errors.Is(m.err, unix.EEXIST) {
			return fmt.Errorf("network namespace %s has a default route already, so %s cannot have one too: name the routes of this network in ipam.routes: %w",
				p.NetNS, p.Interface, m.failed())
		}
	}
	return err
}

// enableIPv6 turns IPv6 on for the interface, if the runtime made the namespace
// with net.ipv6.conf.default.disable_ipv6=1, as several do: whoever gives it an
// IPv6 address means it to have one. It also lets global addresses stay while the
// interface is down, as IPv4 addresses do.
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
