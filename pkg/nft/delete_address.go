package nft

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// deleteAddress returns the messages that delete the elements of live sets whose keys begin
// with an address, and adds the elements to removed.
func (c *Conn) deleteAddress(addr netip.Addr, have *observed, removed removedElements) ([]op, error) {
	var out []op
	for _, name := range slices.Sorted(maps.Keys(have.sets)) {
		n, _ := ruleset.ParseSetName(name)
		s, live := ruleset.LiveSet(name)
		if !live || n.Family != masq.FamilyOf(addr) || n.Kind == ruleset.SourceSet {
			continue
		}
		var found []ruleset.Element
		if n.Kind == ruleset.HelperSet { // its keys have a port too
			all, err := c.elements(name, s.Type)
			if err != nil {
				return nil, err
			}
			for key := range all {
				if ruleset.SubjectOf(key).Address == addr {
					found = append(found, ruleset.Element{Key: key})
				}
			}
		} else if _, exists, err := c.element(name, s.Type, addr.String()); err != nil {
			return nil, err
		} else if exists {
			found = append(found, ruleset.Element{Key: addr.String()})
		}
		for _, e := range found {
			removed.add(name, e.Key, "")
		}
		ops, err := deleteElements(s, found)
		if err != nil {
			return nil, err
		}
		out = append(out, ops...)
	}
	return out, nil
}
