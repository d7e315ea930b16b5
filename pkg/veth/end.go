package veth

import (
	"errors"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// end is the host's end of a pair as the kernel has it. Its index is 0 if it does not
// exist.
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

// listThreshold is the number of links from which to list all interfaces of the node is
// cheaper than to look up each link.
const listThreshold = 64

// ends finds the host's ends of pairs, in their order.
func (c *Conn) ends(pairs []Pair) ([]end, error) {
	out := make([]end, len(pairs))
	for i := range pairs {
		out[i].pair = &pairs[i]
	}
	if len(pairs) >= listThreshold {
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
	// Only a list finds an interface whose name was changed.
	return out, c.listEnds(out)
}

// listEnds finds ends by one dump of all interfaces: by name and alias, or by group and
// alias if the name was changed.
func (c *Conn) listEnds(ends []end) error {
	byName, byIdentity := map[string]int{}, map[string]int{}
	for i, e := range ends {
		byName[e.pair.HostName], byIdentity[e.pair.Identity] = i, i
	}
	before := slices.Clone(ends)
	var malformed error
	err := c.host.dump(listLinks(), func() { copy(ends, before); malformed = nil }, func(body []byte) {
		d, err := parseDevice(body)
		if err != nil {
			malformed = err
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
		err = nil // recheckMissing looks up the ends that the list may lack
	}
	return errors.Join(err, malformed, c.recheckMissing(ends))
}

// recheckMissing looks up the ends that a list did not have: the kernel can omit
// interfaces while others are added and deleted.
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

// clone returns a copy that does not refer to the buffer of a dump.
func (d device) clone() device {
	d.mac, d.conf4, d.conf6 = slices.Clone(d.mac), slices.Clone(d.conf4), slices.Clone(d.conf6)
	return d
}
