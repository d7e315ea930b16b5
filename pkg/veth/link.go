package veth

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"golang.org/x/sys/unix"
)

// Link is a link that Add made.
type Link struct {
	HostName  string
	HostIndex int
	HostMAC   net.HardwareAddr
	MAC       net.HardwareAddr // MAC of the container's end
	MTU       int
	// Gateway4 and Gateway6 are the container's next hops. They are invalid if it has no
	// address of the family.
	Gateway4, Gateway6 netip.Addr
}

// Gateway returns the container's next hop of a family.
func (l Link) Gateway(f masq.Family) netip.Addr {
	if f == masq.IPv4 {
		return l.Gateway4
	}
	return l.Gateway6
}

// device holds the attributes of an interface.
type device struct {
	index, peer int
	peerNS      int // number of the peer's namespace; -1 for the same namespace
	name, alias string
	group       uint32
	flags       uint32
	mtu         int
	mac         net.HardwareAddr
	operState   uint8
	conf4       []byte // IPV4_DEVCONF_*, from 1, of 4 bytes each
	conf6       []byte // DEVCONF_*, from 0; empty without IPv6
}

func (d device) isUp() bool { return d.flags&unix.IFF_UP != 0 }

// isManaged reports whether the plugin made the link.
func (d device) isManaged() bool { return masq.IsManagedGroup(d.group) }

func (d device) hostLink() masq.HostLink {
	return masq.HostLink{Index: d.index, Name: d.name, Alias: d.alias, Group: d.group}
}

// Positions in conf6 (linux/ipv6.h). x/sys/unix has none of them.
const (
	devconf6MTU               = 2
	devconf6AcceptRA          = 3
	devconf6DisableIPv6       = 26
	devconf6KeepAddrOnDown    = 42
	devconf6AcceptUntrackedNA = 57 // Requires Linux 5.19.
	devconf6ForceForwarding   = 59 // Requires Linux 6.17.
)

// setting4 and setting6 return a setting of the interface, and whether the kernel has that
// setting.
func (d device) setting4(i int) (int, bool) { return int32At(d.conf4, i-1) }
func (d device) setting6(i int) (int, bool) { return int32At(d.conf6, i) }

func int32At(b []byte, i int) (int, bool) {
	if len(b) < 4*(i+1) {
		return 0, false
	}
	return int(int32(readUint32(b[4*i:]))), true
}

// errNoDevice means that an interface does not exist.
var errNoDevice error = unix.ENODEV

// getLink asks for interfaces without their counters: most of the time of
// an answer would be spent to sum them over all CPUs.
func getLink(what string, index int) *message {
	const skipStats = 1 << 3 // RTEXT_FILTER_SKIP_STATS
	m := newMessage(unix.RTM_GETLINK, 0, what, unix.IfInfomsg{Index: int32(index)})
	m.NativeUint32(unix.IFLA_EXT_MASK, skipStats)
	return m
}

func getByName(name string) *message {
	m := getLink("look up interface "+name, 0)
	m.Text(unix.IFLA_IFNAME, name)
	return m
}

func getByIndex(index int) *message {
	return getLink(fmt.Sprintf("look up interface %d", index), index)
}

// listLinks asks for all interfaces.
func listLinks() *message { return getLink("list the node's interfaces", 0) }

// device reads the answer to getByName or getByIndex.
func (m *message) device() (device, error) {
	if err := m.failed(); err != nil {
		return device{}, err
	}
	d, err := parseDevice(m.reply)
	if err != nil {
		return device{}, fmt.Errorf("%s: %w", m.what, err)
	}
	return d, nil
}

// devices sends lookups of interfaces, and returns the device of each, in their order.
// The index of a device is 0 if the interface does not exist.
func (s *socket) devices(lookups ...*message) ([]device, error) {
	for _, m := range lookups {
		m.allow = unix.ENODEV
	}
	if err := s.exchange(lookups...); err != nil {
		return nil, err
	}
	out := make([]device, len(lookups))
	for i, m := range lookups {
		if m.reply == nil {
			continue
		}
		var err error
		if out[i], err = m.device(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// devicesAt is devices for interfaces with these indexes.
func (s *socket) devicesAt(indexes []int) ([]device, error) {
	var lookups []*message
	for _, index := range indexes {
		lookups = append(lookups, getByIndex(index))
	}
	return s.devices(lookups...)
}

// parseDevice reads the body of an RTM_NEWLINK.
func parseDevice(body []byte) (device, error) {
	info, attributes, ok := decodeHeader[unix.IfInfomsg](body)
	if !ok {
		return device{}, netlink.ErrNoAnswer
	}
	d := device{index: int(info.Index), peerNS: -1, flags: info.Flags}
	for kind, v := range netlink.All(attributes) {
		switch kind {
		case unix.IFLA_IFNAME:
			d.name = netlink.Text(v)
		case unix.IFLA_IFALIAS:
			d.alias = netlink.Text(v)
		case unix.IFLA_GROUP:
			d.group = readUint32(v)
		case unix.IFLA_MTU:
			d.mtu = int(readUint32(v))
		case unix.IFLA_LINK:
			d.peer = int(readUint32(v))
		case unix.IFLA_LINK_NETNSID:
			d.peerNS = int(int32(readUint32(v)))
		case unix.IFLA_ADDRESS:
			d.mac = v
		case unix.IFLA_OPERSTATE:
			if len(v) == 1 {
				d.operState = v[0]
			}
		case unix.IFLA_AF_SPEC:
			d.readFamilies(v)
		}
	}
	return d, nil
}

func (d *device) readFamilies(b []byte) {
	for family, spec := range netlink.All(b) {
		for kind, v := range netlink.All(spec) {
			switch {
			case family == unix.AF_INET && kind == unix.IFLA_INET_CONF:
				d.conf4 = v
			case family == unix.AF_INET6 && kind == unix.IFLA_INET6_CONF:
				d.conf6 = v
			}
		}
	}
}

// find looks up an interface by name. The error is errNoDevice if it does not exist.
func (s *socket) find(name string) (device, error) {
	m := getByName(name)
	if err := s.exchange(m); err != nil {
		return device{}, err
	}
	return m.device()
}

// deleteLink deletes an interface, together with its other end and all addresses and routes
// of both. A missing interface is no error.
func (s *socket) deleteLink(index int, name string) error {
	m := newMessage(unix.RTM_DELLINK, 0, "delete interface "+name, unix.IfInfomsg{Index: int32(index)})
	m.allow = unix.ENODEV
	return s.exchange(m)
}

// setLink returns the request to change an interface, which is named by its index or, if
// the index is 0, by its name.
func setLink(what string, index int, name string) *message {
	m := newMessage(unix.RTM_SETLINK, 0, fmt.Sprintf("%s of interface %s", what, name), unix.IfInfomsg{Index: int32(index)})
	if index == 0 {
		m.Text(unix.IFLA_IFNAME, name)
	}
	return m
}

func bringUp(index int, where string) *message {
	return newMessage(unix.RTM_SETLINK, 0, "bring up "+where, unix.IfInfomsg{Index: int32(index), Flags: unix.IFF_UP, Change: unix.IFF_UP})
}

// disableAutoAddresses returns the request to make no IPv6 link-local address
// automatically: it would be unusable for a second, during duplicate address detection. If
// optional is true, an interface without IPv6 is no error.
func disableAutoAddresses(index int, name string, optional bool) *message {
	const none = 1 // IN6_ADDR_GEN_MODE_NONE
	m := setLink("turn off the automatic IPv6 addresses", index, name)
	spec := m.Begin(unix.IFLA_AF_SPEC)
	family := m.Begin(unix.AF_INET6)
	m.Uint8(unix.IFLA_INET6_ADDR_GEN_MODE, none)
	m.End(family)
	m.End(spec)
	if optional {
		m.allow = unix.EAFNOSUPPORT
	}
	return m
}

// linkLocal returns the link-local address of a MAC (RFC 4291, appendix A).
func linkLocal(mac net.HardwareAddr) netip.Addr {
	a := [16]byte{0xfe, 0x80}
	copy(a[8:], mac[:3])
	a[8] ^= 2
	a[11], a[12] = 0xff, 0xfe
	copy(a[13:], mac[3:])
	return netip.AddrFrom16(a)
}
