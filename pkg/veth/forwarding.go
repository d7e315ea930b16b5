package veth

import (
	"fmt"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"golang.org/x/sys/unix"
)

// Attributes of RTM_GETNETCONF, and special values of its index (linux/netconf.h).
const (
	netconfIndex      = 1
	netconfForwarding = 2
	netconfAll        = 0xffffffff
	netconfDefault    = 0xfffffffe
)

// forwarding6 says how the node forwards IPv6. Before Linux 6.17 the kernel reads
// net.ipv6.conf.all.forwarding only. From then on it also reads force_forwarding of the
// interface that a packet enters by.
type forwarding6 struct {
	all       bool // all packets are forwarded
	perDevice bool // the kernel has force_forwarding
}

// forwarding6 looks up how the node forwards IPv6, if IPv6 is among the families.
func (c *Conn) forwarding6(families []masq.Family) (forwarding6, error) {
	if !slices.Contains(families, masq.IPv6) {
		return forwarding6{}, nil
	}
	all := newMessage(unix.RTM_GETNETCONF, 0, "look up net.ipv6.conf.all.forwarding (is IPv6 turned off on this node?)", familyHeader{unix.AF_INET6})
	all.NativeUint32(netconfIndex, netconfAll)
	// In each namespace, lo has index 1.
	lo := getByIndex(1)
	if err := c.host.exchange(all, lo); err != nil {
		return forwarding6{}, err
	}
	d, err := lo.device()
	if err != nil {
		return forwarding6{}, err
	}
	var f forwarding6
	for kind, v := range netlink.All(netlink.After(all.reply, unix.NLMSG_ALIGNTO)) {
		if kind == netconfForwarding {
			f.all = readUint32(v) != 0
		}
	}
	_, known := d.setting6(devconf6ForceForwarding)
	f.perDevice = known && !c.allForwarding
	return f, nil
}

// forwards reports whether IPv6 packets that enter by a device are forwarded.
func (f forwarding6) forwards(d device) bool {
	forced, _ := d.setting6(devconf6ForceForwarding)
	return f.all || f.perDevice && forced != 0
}

// forwards4 reports whether IPv4 packets that enter by a device are forwarded.
func forwards4(d device) bool {
	on, _ := d.setting4(conf4Forwarding.index)
	return on != 0
}

// missingForwarding returns the settings that are needed to forward packets which enter by
// the uplinks. Forwarding is a setting of the interface that a packet enters by, and no
// other interface is changed.
//
// If the uplinks of the default routes forward, nothing else is read: the cost does not
// depend on the number of containers.
//
// Reverse path filtering is not changed: the route to each container goes through its own
// link, so that the strict filter accepts its packets.
func (c *Conn) missingForwarding(families []masq.Family, f6 forwarding6) ([]setting, error) {
	pending := slices.Clone(families)
	if f6.all {
		pending = slices.DeleteFunc(pending, func(f masq.Family) bool { return f == masq.IPv6 })
	}
	defaults, err := c.defaultUplinks(pending)
	if err != nil {
		return nil, err
	}
	forwards := func(u uplink) bool {
		if u.family == masq.IPv4 {
			return forwards4(u.device)
		}
		return f6.forwards(u.device)
	}
	pending = slices.DeleteFunc(pending, func(f masq.Family) bool {
		has := false
		for _, u := range defaults {
			if u.family == f && !forwards(u) {
				return false
			}
			has = has || u.family == f
		}
		return has
	})
	if len(pending) == 0 {
		return nil, nil
	}
	uplinks, err := c.addressedUplinks()
	if err != nil {
		return nil, err
	}
	for _, d := range defaults { // addressedUplinks lacks those with a link-local address only
		if !slices.ContainsFunc(uplinks, func(u uplink) bool { return u.index == d.index && u.family == d.family }) {
			uplinks = append(uplinks, d)
		}
	}
	uplinks = slices.DeleteFunc(uplinks, func(u uplink) bool { return !slices.Contains(pending, u.family) || forwards(u) })
	var out []setting
	for _, u := range uplinks {
		switch {
		case u.family == masq.IPv4:
			// By /proc: unlike by netlink, the kernel then also disables large receive
			// offload, which makes packets that cannot be forwarded
			// (devinet_sysctl_forward in net/ipv4/devinet.c).
			out = append(out, setting{"ipv4", u.name, "forwarding", 1})
		case f6.perDevice:
			out = append(out, setting{"ipv6", u.name, "force_forwarding", 1})
		default:
			// With forwarding, the kernel ignores router advertisements and deletes the
			// default route that it has from one, unless accept_ra is 2.
			if ra, _ := u.setting6(devconf6AcceptRA); ra == 1 {
				out = append(out, setting{"ipv6", u.name, "accept_ra", 2})
			}
		}
	}
	if slices.Contains(pending, masq.IPv6) && !f6.perDevice {
		out = append(out, setting{"ipv6", "all", "forwarding", 1}) // after accept_ra
	}
	return out, nil
}

// hostSettings returns the settings that the host's end of a link lacks, except IPv4
// settings, which [Conn.create] makes by netlink.
func hostSettings(d device, families []masq.Family, f6 forwarding6) ([]setting, error) {
	var out []setting
	if ra, ok := d.setting6(devconf6AcceptRA); ok && ra != 0 {
		// Otherwise a container can announce itself as the node's IPv6 router and read the
		// node's traffic (CVE-2020-10749).
		out = append(out, setting{"ipv6", d.name, "accept_ra", 0})
	}
	if learns, ok := d.setting6(devconf6AcceptUntrackedNA); ok && learns != 0 {
		// Otherwise a container's advertisements can fill the node's neighbor table.
		out = append(out, setting{"ipv6", d.name, "accept_untracked_na", 0})
	}
	if !slices.Contains(families, masq.IPv6) {
		return out, nil
	}
	off, ok := d.setting6(devconf6DisableIPv6)
	if !ok {
		return nil, fmt.Errorf("interface %s of the node has no IPv6: is it turned off on this node?", d.name)
	}
	if off != 0 { // net.ipv6.conf.default.disable_ipv6
		out = append(out, setting{"ipv6", d.name, "disable_ipv6", 0})
	}
	if f6.perDevice && !f6.forwards(d) {
		out = append(out, setting{"ipv6", d.name, "force_forwarding", 1})
	}
	return out, nil
}
