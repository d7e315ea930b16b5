package veth

import (
	"errors"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// end is the host's end of a pair as the kernel has it. Its index is 0 where there is
// none.
type end struct {
	pair *Pair
	device
	found []Difference
}

func (e *end) add(d Difference) {
	d.Identity, d.Side = e.pair.Identity, NodeSide
	if d.Interface == "" {
		d.Interface = e.name
	}
	e.found = append(e.found, d)
}

// bulkFrom is the number of links from which it is cheaper to list all interfaces of
// the node than to look each one up.
const bulkFrom = 64

// ends finds the host's ends of pairs, in their order.
func (c *Conn) ends(pairs []Pair) ([]end, error) {
	out := make([]end, len(pairs))
	for i := range pairs {
		out[i].pair = &pairs[i]
	}
	if len(pairs) >= bulkFrom {
		return out, c.listEnds(out)
	}
	var lookups []*message
	for _, p := range pairs {
		lookups = append(lookups, getByName(p.HostName))
	}
	devices, err := c.host.devices(lookups...)
	if err != nil {
		return nil, err
	}
	complete := true
	for i, d := range devices {
		if out[i].device = d; d.index == 0 || d.alias != pairs[i].Identity {
			complete = false
		}
	}
	if complete {
		return out, nil
	}
	// Its name may have been changed, which only a list shows.
	return out, c.listEnds(out)
}

// listEnds finds ends by one dump of all interfaces: by their name and alias, or by
// group and alias where the name was changed.
func (c *Conn) listEnds(ends []end) error {
	byName, byIdentity := map[string]int{}, map[string]int{}
	for i, e := range ends {
		byName[e.pair.HostName], byIdentity[e.pair.Identity] = i, i
	}
	before := slices.Clone(ends)
	var bad error
	err := c.host.dump(listLinks(), func() { copy(ends, before); bad = nil }, func(body []byte) {
		d, err := parseDevice(body)
		if err != nil {
			bad = err
			return
		}
		if i, ok := byIdentity[d.alias]; ok && (d.name == ends[i].pair.HostName || d.isManaged()) {
			if !ends[i].matches() {
				ends[i].device = d.clone()
			}
			return
		}
		if i, ok := byName[d.name]; ok && ends[i].index == 0 {
			ends[i].device = d.clone()
		}
	})
	if errors.Is(err, netlink.ErrInterrupted) {
		err = nil // what the list may have passed over is looked up
	}
	return errors.Join(err, bad, c.recheckMissing(ends))
}

// recheckMissing looks the ends up that a list has not: the kernel passes over some
// while others come and go.
func (c *Conn) recheckMissing(ends []end) error {
	var lookups []*message
	var missing []*end
	for i := range ends {
		if e := &ends[i]; e.index == 0 {
			lookups, missing = append(lookups, getByName(e.pair.HostName)), append(missing, e)
		}
	}
	devices, err := c.host.devices(lookups...)
	if err != nil {
		return err
	}
	for i, d := range devices {
		missing[i].device = d
	}
	return nil
}

// matches reports whether the interface has the name and the alias of the pair.
func (e *end) matches() bool {
	return e.index != 0 && e.name == e.pair.HostName && e.alias == e.pair.Identity
}

// clone copies what a dump's buffer holds.
func (d device) clone() device {
	d.mac, d.conf4, d.conf6 = slices.Clone(d.mac), slices.Clone(d.conf4), slices.Clone(d.conf6)
	return d
}
