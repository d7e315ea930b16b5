package veth

import (
	"errors"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"golang.org/x/sys/unix"
)

// Repair restores what [Conn.Compare] finds, and returns the differences that it has
// repaired and the differences that are left. It changes only objects that are the
// attachment's by name and alias. It does not restore a missing interface, and does not
// change an interface of another program or a route that leads to another interface. Both
// results are valid also with an error.
//
// Another program may keep changing an object: the caller has to limit the number of
// repairs.
func (c *Conn) Repair(pairs []Pair) (repaired, left []Difference, err error) {
	ends, err := c.ends(pairs)
	if err != nil {
		return nil, nil, err
	}
	return c.repairEnds(ends)
}

// RepairIndexes is Repair for the interfaces of the node with these indexes, such as
// [Event] names. pairOf returns the pair of an interface with its alias, and false if
// it has no pair. The cost does not depend on the number of other links.
func (c *Conn) RepairIndexes(indexes []int, pairOf func(index int, identity string) (Pair, bool)) (repaired, left []Difference, err error) {
	devices, err := c.host.devicesAt(indexes)
	if err != nil {
		return nil, nil, err
	}
	var ends []end
	for _, d := range devices {
		if d.index == 0 { // deleted meanwhile
			continue
		}
		// Either its group or its name may have been changed, but not both.
		if p, ok := pairOf(d.index, d.alias); ok && (d.isManaged() || d.name == p.HostName) {
			ends = append(ends, end{pair: &p, device: d})
		}
	}
	return c.repairEnds(ends)
}

// repairPasses is the number of times that an end is compared and restored. A second pass
// finds differences that the first could not see: an interface gets its IPv6 settings when
// its MTU is restored.
const repairPasses = 3

func (c *Conn) repairEnds(ends []end) (repaired, left []Difference, err error) {
	var all, stays []Difference
	var errs []error
	seen := map[differenceKey]bool{}
	for pass := 0; len(ends) > 0; pass++ {
		uplinks, err := c.compareEnds(ends)
		left = uplinks
		var settings []setting
		for _, d := range uplinks {
			settings = append(settings, d.setting)
		}
		var damaged []end
		for _, e := range ends {
			if e.index == 0 {
				stays = append(stays, e.found...)
				continue
			}
			if len(e.found) > 0 {
				left, damaged = append(left, e.found...), append(damaged, e)
			}
		}
		for _, d := range left {
			if !seen[d.key()] {
				seen[d.key()] = true
				all = append(all, d)
			}
		}
		if pass == repairPasses || len(left) == 0 {
			errs = append(errs, err)
			break
		}
		// Before links are set up, so that none accepts router advertisements.
		for _, e := range damaged {
			for _, d := range e.found {
				if d.Kind == KindSetting {
					settings = append(settings, d.setting)
				}
			}
		}
		errs = nil // errors of an earlier pass do not count: the next comparison decides
		_, err = c.applySettings(c.node.within, settings)
		errs = append(errs, err)
		for _, e := range damaged {
			errs = append(errs, c.restore(&e))
		}
		if len(damaged) > 0 {
			if ends, err = c.refresh(damaged); err != nil || len(ends) == 0 {
				left = nil
				errs = append(errs, err)
				break
			}
		}
	}
	still := map[differenceKey]bool{}
	for _, d := range left {
		still[d.key()] = true
	}
	repaired = slices.DeleteFunc(all, func(d Difference) bool { return still[d.key()] })
	return repaired, append(stays, left...), errors.Join(errs...)
}

// refresh reads ends again, and omits deleted ones.
func (c *Conn) refresh(ends []end) ([]end, error) {
	var indexes []int
	for _, e := range ends {
		indexes = append(indexes, e.index)
	}
	devices, err := c.host.devicesAt(indexes)
	if err != nil {
		return nil, err
	}
	var out []end
	for i, d := range devices {
		if d.index != 0 {
			out = append(out, end{pair: ends[i].pair, device: d})
		}
	}
	return out, nil
}

// differenceKey identifies the object of a difference.
type differenceKey struct {
	identity, object string
	kind             Kind
}

func (d Difference) key() differenceKey { return differenceKey{d.Identity, d.Object, d.Kind} }

// restore makes the interface what Add made, in the order of [Conn.Add]. An interface that
// was set down has lost its addresses, routes and proxies, and all of these are among the
// differences.
func (c *Conn) restore(e *end) error {
	p, where := e.pair, "interface "+e.name
	var ms []*message
	set := func(what string) *message {
		m := setLink(what, e.index, e.name)
		ms = append(ms, m)
		return m
	}
	for _, d := range e.found {
		switch d.Kind {
		case KindInterface:
			// The source check compares the name. EBUSY before Linux 6.2, where only
			// an interface that is down can be renamed.
			set("restore the name").Text(unix.IFLA_IFNAME, p.HostName)
		case KindMTU:
			set("restore the MTU").NativeUint32(unix.IFLA_MTU, uint32(p.MTU))
		case KindGroup:
			set("restore the group").NativeUint32(unix.IFLA_GROUP, p.group())
		case KindMAC:
			set("restore the MAC").Bytes(unix.IFLA_ADDRESS, p.HostMAC)
		}
	}
	if p.has(masq.IPv6) {
		ms = append(ms, disableAutoAddresses(e.index, e.name, true))
	}
	if !e.isUp() {
		ms = append(ms, bringUp(e.index, where))
	}
	for _, d := range e.found {
		switch d.Kind {
		case KindProxy:
			ms = append(ms, addProxy(gateway4, e.index, where)...)
		case KindAddress:
			m := addAddress(linkLocalPrefix(e.gateway6()), unix.IFA_F_NOPREFIXROUTE, e.index, where)
			m.allow = unix.EEXIST
			ms = append(ms, m)
		}
	}
	for _, d := range e.found {
		if d.Kind == KindRoute && d.Reason == masq.Missing {
			m := hostRoute(d.addr, Link{HostName: e.name, HostIndex: e.index}, unix.NLM_F_EXCL)
			m.allow = unix.EEXIST // a route exists that packets do not take: it stays
			ms = append(ms, m)
		}
	}
	if len(ms) == 0 {
		return nil
	}
	_ = c.host.exchange(ms...) // the loop below reads the error of each message
	var errs []error
	for _, m := range ms {
		if !errors.Is(m.err, unix.ENODEV) { // deleted meanwhile
			errs = append(errs, m.failed())
		}
	}
	return errors.Join(errs...)
}
