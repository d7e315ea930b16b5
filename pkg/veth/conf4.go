package veth

import (
	"github.com/masq-cni/masq-cni/pkg/masq"
	"golang.org/x/sys/unix"
)

// conf4 is an IPv4 setting of an interface, and its value on the host's end of a link. It
// is set by netlink, which requires CAP_NET_ADMIN only.
type conf4 struct {
	name  string // as in /proc/sys/net/ipv4/conf
	index int    // IPV4_DEVCONF_* of linux/ip.h
	value int
}

var (
	conf4Forwarding = conf4{"forwarding", 1, 1}
	// Without it the kernel deletes the proxy neighbors of an interface that loses its
	// carrier (neigh_carrier_down in net/core/neighbour.c), which happens when the container
	// sets its end down. Requires Linux 5.16; before that, masqd restores them.
	conf4KeepProxies = conf4{"arp_evict_nocarrier", 33, 0}
	// arp_process (net/ipv4/arp.c) learns the sender of a request that it answers, if the
	// route to the sender passes this filter. The host's end has no IPv4 address, and
	// for such an interface 1 and 2 are both strict (__fib_validate_source), so that
	// net.ipv4.conf.all.rp_filter=2 does not weaken it.
	conf4CheckSenders = conf4{"rp_filter", 8, 1}
	// With 1 the kernel would learn the sender of each reply, regardless of the route.
	conf4IgnoreReplies = conf4{"arp_accept", 21, 0}
)

// allConf4 lists the IPv4 settings that this package makes.
var allConf4 = []conf4{conf4Forwarding, conf4KeepProxies, conf4CheckSenders, conf4IgnoreReplies}

// conf4 returns the settings of the host's end of the pair. The settings of CheckSources
// do not depend on the families: a container without an IPv4 address can send ARP.
func (p Pair) conf4() []conf4 {
	out := []conf4{conf4Forwarding}
	if p.has(masq.IPv4) {
		out = append(out, conf4KeepProxies)
	}
	if p.CheckSources {
		out = append(out, conf4CheckSenders, conf4IgnoreReplies)
	}
	return out
}

// differs reports whether the interface has another value. A setting that the kernel does
// not have does not differ.
func (c conf4) differs(d device) (have int, differs bool) {
	have, known := d.setting4(c.index)
	if c == conf4CheckSenders && have > c.value {
		return have, false // as strict
	}
	return have, known && have != c.value
}

// setConf4 appends settings to an RTM_SETLINK.
func (m *message) setConf4(settings ...conf4) {
	spec := m.Begin(unix.IFLA_AF_SPEC)
	family := m.Begin(unix.AF_INET)
	conf := m.Begin(unix.IFLA_INET_CONF)
	for _, c := range settings {
		m.NativeUint32(uint16(c.index), uint32(c.value))
	}
	m.End(conf)
	m.End(family)
	m.End(spec)
}
