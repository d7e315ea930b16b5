package wire

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
func (w *Wire) connect(p Pair, l Link) error {
	where := "interface " + l.HostName
	ms := []*message{bringUp(l.HostIndex, where)}
	var addresses []netip.Addr
	for _, a := range p.Addresses {
		addresses = append(addresses, a.Addr())
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
	err := w.host.exchange(ms...)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	for i, a := range addresses {
		if m := ms[first+i]; errors.Is(m.err, unix.EEXIST) {
			m.err = w.takeOver(a, l)
		}
	}
	return firstFailed(ms)
}

// hostRoute is the node's way to an address of the container. It says that it
// comes from the kernel, as those that come with an address do: that keeps
// systemd-networkd from removing it as foreign (ManageForeignRoutes=).
func hostRoute(a netip.Addr, l Link, flags int) *message {
	to := via{dst: netip.PrefixFrom(a, a.BitLen()), index: l.HostIndex, protocol: unix.RTPROT_KERNEL}
	return to.addRoute(fmt.Sprintf("add route %s to interface %s", to.dst, l.HostName), flags)
}

// takeOver replaces the node's route to an address if it leads to a link of
// ours: to a container that is gone as far as IPAM knows, but not deleted yet.
func (w *Wire) takeOver(a netip.Addr, l Link) error {
	p, found, err := w.host.pathTo(a, 0)
	if err != nil {
		return err
	}
	if found {
		m := getByIndex(p.index)
		if err := w.host.exchange(m); err != nil {
			return err
		}
		d, err := m.device()
		if err != nil {
			return err
		}
		if !d.ours() {
			return fmt.Errorf("the node has a route to it already, through interface %s: %w", d.name, unix.EEXIST)
		}
	}
	return w.host.exchange(hostRoute(a, l, unix.NLM_F_REPLACE))
}
