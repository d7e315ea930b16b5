package nft

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// liveType is the type of a set whose elements begin with an attachment's address,
// by the start of its name; more says that something follows the address. It is
// empty for all other sets.
func liveType(name string) (typ string, more bool) {
	for _, f := range masq.Families {
		addr := "ip" + map[masq.Family]string{masq.IPv4: "v4", masq.IPv6: "v6"}[f] + "_addr"
		switch {
		case name == "policy"+f.String(), name == "invalid"+f.String(), name == "linked"+f.String(), name == "helped"+f.String(), strings.HasPrefix(name, "clamp"+f.String()+"-"):
			return addr, false
		case strings.HasPrefix(name, "helper"+f.String()+"-"):
			return addr + " . inet_service", true
		}
	}
	return "", false
}

// forget deletes an address from every set in which it stands, and notes that.
func (c *Conn) forget(addr netip.Addr, have *observed, gone removed) ([]op, error) {
	var out []op
	for _, name := range slices.Sorted(maps.Keys(have.sets)) {
		typ, more := liveType(name)
		if typ == "" || (typ[:4] == "ipv4") != addr.Is4() {
			continue
		}
		s := ruleset.Set{Name: name, Type: typ, Live: true}
		var there []ruleset.Element
		if more {
			all, err := c.s.elements(name, typ)
			if err != nil {
				return nil, err
			}
			for key := range all {
				if strings.HasPrefix(key, addr.String()+" . ") {
					there = append(there, ruleset.Element{Key: key})
				}
			}
		} else if _, found, err := c.s.element(name, typ, addr.String()); err != nil {
			return nil, err
		} else if found {
			there = append(there, ruleset.Element{Key: addr.String()})
		}
		for _, e := range there {
			gone.add(name, e.Key, "")
		}
		ops, err := deleteElements(s, there)
		if err != nil {
			return nil, err
		}
		out = append(out, ops...)
	}
	return out, nil
}
