package veth

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Interface is an interface of the node.
type Interface struct {
	Index int
	Name  string
	MTU   int
	// Managed is true for the host's end of a link that Add made.
	Managed bool
	// Neighbors is true if hosts on the interface are found by ARP or neighbor discovery. It
	// is false for the loopback interface, and for tunnels and other interfaces without ARP.
	Neighbors bool
	// Forwards4 is net.ipv4.conf.*.forwarding, and Forced6 is net.ipv6.conf.*.force_forwarding;
	// before Linux 6.17 it is false. Has6 is false if the interface has no IPv6.
	Forwards4, Forced6, Has6 bool
}

// Interfaces lists the interfaces of the node by one dump.
func (c *Conn) Interfaces() (out []Interface, err error) {
	err = c.host.dump(listLinks(), func() { out = nil }, func(b []byte) {
		if d, err := parseDevice(b); err == nil {
			forced, _ := d.setting6(devconf6ForceForwarding)
			out = append(out, Interface{
				Index: d.index, Name: d.name, MTU: d.mtu, Managed: d.isManaged(),
				Neighbors: d.flags&(unix.IFF_LOOPBACK|unix.IFF_NOARP|unix.IFF_POINTOPOINT) == 0,
				Forwards4: forwards4(d), Forced6: forced != 0, Has6: len(d.conf6) > 0,
			})
		}
	})
	if errors.Is(err, netlink.ErrInterrupted) {
		err = nil // the last list may lack an interface that was just added
	}
	return out, err
}

// InterfaceAddress is a global address of an interface, with the prefix of its subnet.
type InterfaceAddress struct {
	netip.Prefix
	Index int
	// RA is true if the kernel made the address from a router advertisement. Requires Linux
	// 5.18; before that it is false.
	RA bool
}

// ifaProto and ifaprotRA are IFA_PROTO and IFAPROT_KERNEL_RA of linux/if_addr.h.
const (
	ifaProto  = 11
	ifaprotRA = 2
)

// Addresses lists the global addresses of all interfaces by one dump.
func (c *Conn) Addresses() (out []InterfaceAddress, err error) {
	err = c.host.dump(listAddresses(unix.AF_UNSPEC, 0), func() { out = nil }, func(b []byte) {
		a, ok := readAddress(b)
		if !ok || !a.Addr().IsGlobalUnicast() {
			return
		}
		x := InterfaceAddress{Prefix: a.Prefix, Index: a.index}
		for kind, v := range netlink.All(netlink.After(b, unix.SizeofIfAddrmsg)) {
			x.RA = x.RA || kind == ifaProto && len(v) == 1 && v[0] == ifaprotRA
		}
		out = append(out, x)
	})
	if errors.Is(err, netlink.ErrInterrupted) {
		err = nil // the last list may lack an address that was just added
	}
	return out, err
}

// Outside returns an address to which only a default route leads.
func Outside(f masq.Family) netip.Addr { return probes[f] }

// InterfacesTo returns the index of the interface by which packets to each address leave; 0
// if there is no route.
func (c *Conn) InterfacesTo(addrs []netip.Addr) ([]int, error) {
	var ms []*message
	for _, a := range addrs {
		ms = append(ms, lookUpRoute(a, 0))
	}
	_ = c.host.exchange(ms...) // path reads the errors
	out := make([]int, len(addrs))
	for i, m := range ms {
		p, _, err := m.path()
		if err != nil {
			return nil, err
		}
		out[i] = p.index
	}
	return out, nil
}

// ForwardedPacket is an IPv4 packet that enters the node by the interface Index.
type ForwardedPacket struct {
	Src, Dst netip.Addr
	Index    int
	Mark     uint32
}

// Forward returns the index of the interface by which the node forwards each packet, or 0
// if it drops the packet: without a route, or because its source fails reverse path
// filtering. No packet is sent: the kernel looks up the route as if it had received one.
func (c *Conn) Forward(packets []ForwardedPacket) ([]int, error) {
	var ms []*message
	for _, p := range packets {
		m := newMessage(unix.RTM_GETROUTE, 0, "look up the route from "+p.Src.String()+" to "+p.Dst.String(),
			unix.RtMsg{Family: unix.AF_INET, Dst_len: 32, Src_len: 32})
		m.addr(unix.RTA_DST, p.Dst)
		m.addr(unix.RTA_SRC, p.Src)
		m.NativeUint32(unix.RTA_IIF, uint32(p.Index))
		if p.Mark != 0 {
			m.NativeUint32(unix.RTA_MARK, p.Mark)
		}
		ms = append(ms, m)
	}
	_ = c.host.exchange(ms...) // path reads the errors
	out := make([]int, len(packets))
	for i, m := range ms {
		if errors.Is(m.err, unix.EXDEV) { // the source fails reverse path filtering, before Linux 6.14
			continue
		}
		p, found, err := m.path()
		if err != nil {
			return nil, err
		}
		if found {
			out[i] = p.index
		}
	}
	return out, nil
}
