package nstest

import (
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddAddress adds an address to a link that is up, without duplicate address detection. It
// waits until the address is usable: the kernel completes IPv6 addresses asynchronously.
func (n *NS) AddAddress(link string, p netip.Prefix) error {
	if err := n.addAddress(link, p); err != nil {
		return err
	}
	patience := time.NewTimer(linkPatience)
	defer patience.Stop()
	return End{NS: n, Name: link}.await(patience.C)
}

func (n *NS) addAddress(link string, p netip.Prefix) error {
	err := n.withLink(link, func(l netlink.Link) error {
		a := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		return netlink.AddrAdd(l, a)
	})
	return describe(err, "add address %s to %s", p, link)
}

// RemoveAddress removes an address from a link.
func (n *NS) RemoveAddress(link string, p netip.Prefix) error {
	err := n.withLink(link, func(l netlink.Link) error {
		return netlink.AddrDel(l, &netlink.Addr{IPNet: ipNet(p)})
	})
	return describe(err, "remove address %s from %s", p, link)
}

// Addresses lists the addresses of the namespace except addresses with host (loopback) or
// link-local scope.
func (n *NS) Addresses() (prefixes []netip.Prefix, err error) {
	err = n.Do(func() error {
		addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
		for _, a := range addrs {
			if ip, ok := netip.AddrFromSlice(a.IP); ok && ip.Unmap().IsGlobalUnicast() {
				ones, _ := a.Mask.Size()
				prefixes = append(prefixes, netip.PrefixFrom(ip.Unmap(), ones))
			}
		}
		return err
	})
	return prefixes, err
}

// Route sends traffic for dst to via, which must be a neighbor.
func (n *NS) Route(dst netip.Prefix, via netip.Addr) error {
	err := n.Do(func() error {
		return netlink.RouteAdd(&netlink.Route{Dst: ipNet(dst), Gw: net.IP(via.AsSlice())})
	})
	return describe(err, "route %s via %s", dst, via)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
