package cniconf

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// hostLocal is the IPAM plugin whose configuration is known here.
const hostLocal = "host-local"

// ipam reads who gives out the addresses, and the network's subnets.
//
// Only host-local's subnets are judged. Another plugin may give the same keys
// another meaning: where that is not host-local's, its subnets are unknown.
func (r *reader) ipam() (name string, subnets []netip.Prefix) {
	raw, given := r.value("ipam")
	if !given {
		return "", nil
	}
	o, ok := asObject(raw)
	if !ok {
		r.wrongType("ipam", raw, "give an object such as {\"type\": \"host-local\"}, or remove the key")
		return "", nil
	}
	name = r.ipamType(o)
	for _, a := range o.again {
		if slices.Contains([]string{"type", "subnet", "ranges"}, a.key) {
			r.repetitions("ipam", "ipam", object{again: []repetition{a}})
		}
	}
	var found ipamSubnets
	if raw, given := o.values["subnet"]; given && kindOf(raw) != isNull {
		found.subnet("ipam", "ipam.subnet", raw)
	}
	if raw, given := o.values["ranges"]; given && kindOf(raw) != isNull {
		found.rangeSets("ipam", "ipam.ranges", raw)
	}
	// host-local puts the ranges of the runtime (capability ipRanges) before
	// those of the configuration.
	if runtime, ok := r.runtimeConfig(); ok && name == hostLocal {
		if raw, given := runtime.values["ipRanges"]; given && kindOf(raw) != isNull {
			found.rangeSets("runtimeConfig", "runtimeConfig.ipRanges", raw)
		}
	}
	switch {
	case len(found.faults) == 0:
		return name, found.subnets
	case name == hostLocal:
		r.faults = append(r.faults, found.faults...)
	}
	return name, nil
}

// ipamType reads the name of the plugin, which becomes the name of a program.
func (r *reader) ipamType(o object) string {
	const key, place, mend = "ipam", "ipam.type", "give the name of an IPAM plugin such as \"host-local\""
	raw, given := o.values["type"]
	if !given || kindOf(raw) == isNull {
		return ""
	}
	name, ok := asText(raw)
	switch {
	case !ok:
		r.addAt(key, place, show(raw), string(kindOf(raw)), mend)
	case strings.ContainsAny(name, "/\\") || name == "." || name == ".." || !isPrintable(name):
		r.addAt(key, place, masq.Quote(name), "is not the name of a program", mend)
	default:
		return name
	}
	return ""
}

// ipamSubnets collects the subnets of host-local's ranges.
type ipamSubnets struct {
	subnets []netip.Prefix
	faults  faults
}

func (s *ipamSubnets) wrongType(key, place string, raw json.RawMessage, mend string) {
	s.faults.addAt(key, place, show(raw), string(kindOf(raw)), mend)
}

// rangeSets reads a list of lists of objects, each with a subnet.
func (s *ipamSubnets) rangeSets(key, place string, raw json.RawMessage) {
	const mend = "give a list of lists such as [[{\"subnet\": \"10.88.0.0/16\"}]]"
	sets, ok := asList(raw)
	if !ok {
		s.wrongType(key, place, raw, mend)
		return
	}
	for i, raw := range sets {
		place := fmt.Sprintf("%s[%d]", place, i)
		ranges, ok := asList(raw)
		if !ok {
			s.wrongType(key, place, raw, mend)
			continue
		}
		for j, raw := range ranges {
			place := fmt.Sprintf("%s[%d]", place, j)
			o, ok := asObject(raw)
			if !ok {
				s.wrongType(key, place, raw, mend)
				continue
			}
			if raw, given := o.values["subnet"]; given {
				s.subnet(key, place+".subnet", raw)
			} // a range without one is for host-local to refuse
		}
	}
}

func (s *ipamSubnets) subnet(key, place string, raw json.RawMessage) {
	text, ok := asText(raw)
	if !ok {
		s.wrongType(key, place, raw, "give a prefix such as \"10.88.0.0/16\"")
		return
	}
	p, bad := masq.ParsePrefix(text)
	if bad == nil && p.Bits() == 0 {
		bad = &masq.Complaint{Wrong: "makes every destination one of the network's own", Mend: "give the network's own prefix"}
	}
	switch {
	case bad != nil:
		s.faults.addAt(key, place, show(raw), bad.Wrong, bad.Mend)
	case !p.IsSingleIP() && !slices.Contains(s.subnets, p):
		s.subnets = append(s.subnets, p)
	}
}
