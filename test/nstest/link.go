package nstest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// linkPatience bounds the wait for a link to become usable.
const linkPatience = time.Minute

// End is one end of a veth pair: its namespace, name and addresses.
type End struct {
	NS        *NS
	Name      string
	Addresses []netip.Prefix
}

// Connect joins two namespaces by a veth pair. On return both ends are up and their addresses
// usable. An IPv6 address needs an MTU of at least 1280; with less, the kernel disables IPv6 on
// the link.
func Connect(a, b End, mtu int) error {
	pair := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: a.Name, MTU: mtu, NumTxQueues: 1, NumRxQueues: 1},
		PeerName:  b.Name, PeerMTU: uint32(mtu),
	}
	err := a.NS.Do(func() error {
		return b.NS.hold(func(fd int) error {
			pair.PeerNamespace = netlink.NsFd(fd)
			return netlink.LinkAdd(pair)
		})
	})
	if err != nil {
		return fmt.Errorf("link %s:%s to %s:%s: %w", a.NS.Name(), a.Name, b.NS.Name(), b.Name, err)
	}
	for _, e := range []End{a, b} {
		if err := e.raise(); err != nil {
			return fmt.Errorf("link %s:%s: %w", e.NS.Name(), e.Name, err)
		}
	}
	patience := time.NewTimer(linkPatience)
	defer patience.Stop()
	for _, e := range []End{a, b} {
		if err := e.await(patience.C); err != nil {
			return fmt.Errorf("link %s:%s: %w", e.NS.Name(), e.Name, err)
		}
	}
	return nil
}

func (e End) raise() error {
	err := e.NS.Sysctl("net/ipv6/conf/"+e.Name+"/accept_dad", "0")
	// The directory is missing if the MTU is below IPv6's minimum.
	if err != nil && slices.ContainsFunc(e.Addresses, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		return err
	}
	err = e.NS.withLink(e.Name, func(l netlink.Link) error {
		if err := netlink.LinkSetGSOMaxSegs(l, 1); err != nil {
			return fmt.Errorf("gso_max_segs: %w", err)
		}
		return netlink.LinkSetUp(l)
	})
	if err != nil {
		return err
	}
	for _, p := range e.Addresses {
		if err := e.NS.addAddress(e.Name, p); err != nil {
			return err
		}
	}
	return nil
}

// await waits until the link carries packets. The kernel raises the carrier and completes IPv6
// addresses in work queues, also without duplicate address detection (addrconf_dad_start,
// addrconf_dad_work). Without this, one link in 250 answered its first neighbor solicitation a
// second late.
func (e End) await(end <-chan time.Time) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		missing := ""
		err := e.NS.withLink(e.Name, func(l netlink.Link) (err error) {
			missing, err = notReady(l)
			return err
		})
		if err != nil || missing == "" {
			return err
		}
		select {
		case <-end:
			return fmt.Errorf("%s after %s", missing, linkPatience)
		case <-tick.C:
		}
	}
}

// notReady returns the reason why a link is not usable yet, or "".
func notReady(l netlink.Link) (string, error) {
	loopback := l.Attrs().Flags&net.FlagLoopback != 0
	if l.Attrs().OperState != netlink.OperUp && !loopback {
		return "no carrier", nil
	}
	if l.Attrs().MTU < 1280 {
		return "", nil
	}
	addrs, err := netlink.AddrList(l, netlink.FAMILY_V6)
	if err != nil {
		return "", err
	}
	local, err := netlink.RouteListFiltered(netlink.FAMILY_V6,
		&netlink.Route{Table: unix.RT_TABLE_LOCAL, LinkIndex: l.Attrs().Index},
		netlink.RT_FILTER_TABLE|netlink.RT_FILTER_OIF)
	if err != nil {
		return "", err
	}
	// Neighbor discovery of forwarded packets needs the link-local address.
	linkLocal := false
	for _, a := range addrs {
		linkLocal = linkLocal || a.IP.IsLinkLocalUnicast()
		isLocal := func(r netlink.Route) bool { return r.Dst != nil && r.Dst.IP.Equal(a.IP) }
		if a.Flags&unix.IFA_F_TENTATIVE != 0 || !slices.ContainsFunc(local, isLocal) {
			return fmt.Sprintf("address %s is not usable", a.IP), nil
		}
	}
	if !linkLocal && !loopback {
		return "no link-local address", nil
	}
	return "", nil
}

// withLink calls f in the namespace with the link of this name.
func (n *NS) withLink(name string, f func(netlink.Link) error) error {
	return n.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return f(l)
	})
}

// RemoveLink deletes a link. A veth's peer is deleted too.
func (n *NS) RemoveLink(name string) error {
	return describe(n.withLink(name, netlink.LinkDel), "remove link %s", name)
}

// SetMTU changes the MTU of a link.
func (n *NS) SetMTU(link string, mtu int) error {
	err := n.withLink(link, func(l netlink.Link) error { return netlink.LinkSetMTU(l, mtu) })
	return describe(err, "set MTU of %s to %d", link, mtu)
}

// MTU returns the MTU of a link.
func (n *NS) MTU(link string) (mtu int, err error) {
	err = n.withLink(link, func(l netlink.Link) error {
		mtu = l.Attrs().MTU
		return nil
	})
	return mtu, describe(err, "MTU of %s", link)
}

// LinkNames lists the links in the order of their index, the loopback first.
func (n *NS) LinkNames() (names []string, err error) {
	err = n.Do(func() error {
		links, err := netlink.LinkList()
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			err = nil // a concurrent change interrupted the dump; the listed links exist
		}
		for _, l := range links {
			names = append(names, l.Attrs().Name)
		}
		return err
	})
	return names, err
}

// Forward enables forwarding in the namespace for both families.
func (n *NS) Forward() error {
	return errors.Join(
		n.Sysctl("net.ipv4.ip_forward", "1"),
		n.Sysctl("net.ipv6.conf.all.forwarding", "1"))
}

// describe wraps an error with a text, and returns nil for nil.
func describe(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
