package veth

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strconv"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"golang.org/x/sys/unix"
)

// Compare compares the node's side of links with what [Conn.Add] made, and returns the
// differences. It compares the host's end with its MTU, group, MAC and state, the routes to
// the container, the gateway's addresses, and forwarding, also on the node's uplinks.
// Empty fields of a pair (MTU 0, no HostMAC) are not compared. The differences are in the
// order of the pairs, and the differences of uplinks are last. Compare returns differences
// also with an error.
//
// It is the only comparison of links: [Conn.Repair] restores what it finds, and CHECK,
// readiness and inspect report it. For many pairs it takes one dump of the interfaces, two
// of neighbors, and one route lookup for each address, which the kernel answers as it
// would route a packet: together about 30 µs for each pair.
func (c *Conn) Compare(pairs []Pair) ([]Difference, error) {
	ends, err := c.ends(pairs)
	if err != nil {
		return nil, err
	}
	uplinks, err := c.compareEnds(ends)
	var out []Difference
	for i := range ends {
		out = append(out, ends[i].found...)
	}
	return append(out, uplinks...), err
}

// compareEnds compares host's ends and fills in their differences. It returns the
// differences of the uplinks that their families need.
func (c *Conn) compareEnds(ends []end) (uplinks []Difference, err error) {
	if len(ends) == 0 {
		return nil, nil
	}
	families := familiesOf(ends)
	f6, err := c.forwarding6(families)
	errs := []error{err}
	known := families
	if err != nil { // the node has no IPv6, and each end has a difference that shows it
		known = slices.DeleteFunc(slices.Clone(families), func(f masq.Family) bool { return f == masq.IPv6 })
	}
	missing, err := c.missingForwarding(known, f6)
	errs = append(errs, err)
	for _, s := range missing {
		uplinks = append(uplinks, s.difference(s.oppositeValue()))
	}
	for i := range ends {
		ends[i].found = nil
		ends[i].compareInterface()
		ends[i].compareSettings(f6)
	}
	errs = append(errs, c.compareProxies(ends))
	for chunk := range slices.Chunk(ends, maxPathEnds) {
		errs = append(errs, c.comparePaths(chunk))
	}
	return uplinks, errors.Join(errs...)
}

// maxPathEnds is the number of ends whose requests are in memory at once.
const maxPathEnds = 256

// familiesOf returns the families of which one of the ends has an address.
func familiesOf(ends []end) []masq.Family {
	return slices.DeleteFunc(slices.Clone(masq.Families[:]), func(f masq.Family) bool {
		return !slices.ContainsFunc(ends, func(e end) bool { return e.pair.has(f) })
	})
}

// compareInterface compares the attributes of the interface with the pair. An interface
// whose alias names another attachment counts as missing for the comparisons that
// follow.
func (e *end) compareInterface() {
	p := e.pair
	name := Difference{Kind: KindInterface, Reason: masq.Missing, Interface: p.HostName, Object: p.HostName}
	switch {
	case e.index == 0:
		e.add(name)
		return
	case e.alias != p.Identity:
		e.add(Difference{Kind: KindAlias, Reason: masq.Changed, Object: e.name, Have: strconv.Quote(e.alias), Want: strconv.Quote(p.Identity)})
		e.index = 0
		return
	case e.name != p.HostName:
		name.Reason, name.Have, name.Want = masq.Changed, e.name, p.HostName
		e.add(name)
	}
	changed := func(kind Kind, have, want string) {
		e.add(Difference{Kind: kind, Reason: masq.Changed, Object: e.name, Have: have, Want: want})
	}
	if p.MTU != 0 && e.mtu != p.MTU {
		changed(KindMTU, strconv.Itoa(e.mtu), strconv.Itoa(p.MTU))
	}
	if e.group != p.group() {
		changed(KindGroup, strconv.FormatUint(uint64(e.group), 10), strconv.FormatUint(uint64(p.group()), 10))
	}
	if p.HostMAC != nil && !bytes.Equal(e.mac, p.HostMAC) {
		changed(KindMAC, e.mac.String(), p.HostMAC.String())
	}
	if !e.isUp() {
		changed(KindState, "down", "up")
	}
}

// compareSettings compares the settings of the interface in /proc/sys/net. An interface
// without IPv6, for example because its MTU is below 1280, has no IPv6 settings.
func (e *end) compareSettings(f6 forwarding6) {
	if e.index == 0 {
		return
	}
	for _, c := range e.pair.conf4() {
		if have, differs := c.differs(e.device); differs && (c != conf4Forwarding || e.pair.has(masq.IPv4)) {
			s := setting{"ipv4", e.name, c.name, c.value}
			e.add(s.difference(have))
		}
	}
	families := e.pair.families()
	if len(e.conf6) == 0 {
		families = nil
	}
	own, _ := hostSettings(e.device, families, f6) // an error if the interface has no IPv6
	for _, s := range own {
		have := s.oppositeValue()
		if ra, ok := e.setting6(devconf6AcceptRA); ok && s.name == "accept_ra" {
			have = ra
		}
		e.add(s.difference(have))
	}
}

// difference returns the Difference of a setting whose value is have.
func (s setting) difference(have int) Difference {
	return Difference{
		Kind: KindSetting, Reason: masq.Changed, Interface: s.device, Object: s.key(),
		Have: strconv.Itoa(have), Want: strconv.Itoa(s.value), setting: s,
	}
}

// oppositeValue returns the value that a setting has if it differs: each setting is 0 or 1,
// except accept_ra, which is 1 if 2 is needed.
func (s setting) oppositeValue() int {
	if s.value == 0 {
		return 1
	}
	return s.value - 1
}

// comparePaths compares the node's routes to containers and its IPv6 gateway addresses.
func (c *Conn) comparePaths(ends []end) error {
	type question struct {
		*message
		end  *end
		addr netip.Addr
		own  bool // an address of the interface, not a route
	}
	var all []question
	var ms []*message
	for i := range ends {
		e := &ends[i]
		if e.index == 0 {
			continue
		}
		for _, a := range e.pair.Addresses {
			all = append(all, question{lookUpRoute(a.Addr(), 0), e, a.Addr(), false})
		}
		if e.pair.has(masq.IPv6) {
			all = append(all, question{getAddress(e.gateway6(), e.index), e, e.gateway6(), true})
		}
	}
	for _, q := range all {
		ms = append(ms, q.message)
	}
	_ = c.host.exchange(ms...) // path and hasAddress read the errors
	var errs []error
	for _, q := range all {
		if q.own {
			there, err := q.hasAddress()
			errs = append(errs, err)
			if err == nil && !there {
				q.end.add(Difference{Kind: KindAddress, Reason: masq.Missing, Object: linkLocalPrefix(q.addr).String()})
			}
			continue
		}
		way, found, err := q.path()
		switch {
		case err != nil:
			errs = append(errs, err)
		case !found || way.index != q.end.index:
			errs = append(errs, c.addRouteDifference(q.end, q.addr, way, found))
		}
	}
	return errors.Join(errs...)
}

// addRouteDifference adds the difference of an address to which packets do not take the
// container's link: the route is missing, or leads to another interface.
func (c *Conn) addRouteDifference(e *end, a netip.Addr, way path, found bool) error {
	d := Difference{Kind: KindRoute, Reason: masq.Missing, Object: hostPrefix(a).String(), addr: a}
	if !found || way.bits < a.BitLen() {
		e.add(d)
		return nil
	}
	m := getByIndex(way.index)
	m.allow = unix.ENODEV
	if err := c.host.exchange(m); err != nil {
		return err
	}
	if to, err := m.device(); err == nil {
		d.Reason, d.Have, d.Want = masq.Changed, to.name, e.name
	}
	e.add(d)
	return nil
}

// gateway6 returns the container's IPv6 next hop. It follows from the MAC that the host's
// end had after Add. If that is not known, the current MAC is used.
func (e *end) gateway6() netip.Addr {
	if e.pair.HostMAC != nil {
		return linkLocal(e.pair.HostMAC)
	}
	return linkLocal(e.mac)
}
