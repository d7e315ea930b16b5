package cniconf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// hostLocal is the IPAM plugin whose configuration is known here.
const hostLocal = "host-local"

// ipam returns the object of the IPAM plugin. ok is false if it is absent or faulty.
func (r *reader) ipam() (v conftree.Value, ok bool) {
	v, given := r.value("ipam")
	if given && v.Kind != conftree.Object {
		r.WrongType("ipam", v, "give an object such as {\"type\": \"host-local\"}, or remove the key")
	}
	return v, v.Kind == conftree.Object
}

// ipamType reads the name of the IPAM plugin, which becomes the name of a program.
func (r *reader) ipamType(ipam conftree.Value) string {
	const key, remedy = "ipam.type", "give the name of an IPAM plugin such as \"host-local\""
	v, given := ipam.Member("type")
	if !given || v.Kind == conftree.Null {
		return ""
	}
	name, ok := r.Text(key, v, remedy)
	if ok && (strings.ContainsAny(name, "/\\") || name == "." || name == ".." || !isPrintable(name)) {
		r.Fault(v.Place, key, v.Show(), "is not the name of a program", remedy)
		return ""
	}
	if !ok {
		return ""
	}
	return name
}

// ipamSubnets reads the subnets of the network. Only the subnets of host-local are
// checked: another IPAM plugin may give the same keys another meaning, and its subnets
// are then unknown.
func (r *reader) ipamSubnets(ipam conftree.Value, plugin string) []netip.Prefix {
	r.CheckRepeatedKeys(ipam, func(key string) string {
		if key == "type" || key == "subnet" || key == "ranges" {
			return "ipam." + key
		}
		return ""
	})
	var s subnetReader
	if v, given := ipam.Member("subnet"); given && v.Kind != conftree.Null {
		s.subnet("ipam.subnet", v)
	}
	s.rangeSets(ipam, "ipam", "ranges")
	// host-local takes the ranges of the runtime (capability ipRanges) first, and then the
	// ranges of the configuration.
	if runtime, _ := r.value("runtimeConfig"); plugin == hostLocal {
		s.rangeSets(runtime, "runtimeConfig", "ipRanges")
	}
	if !s.IsFaulty() {
		return s.subnets
	}
	if plugin == hostLocal {
		for _, f := range s.Faults() {
			r.Add(f)
		}
	}
	return nil
}

// subnetReader reads the subnets of host-local's ranges.
type subnetReader struct {
	conftree.Reader
	subnets []netip.Prefix
}

// rangeSets reads a list of lists of objects, each with a subnet.
func (s *subnetReader) rangeSets(parent conftree.Value, parentKey, name string) {
	const remedy = "give a list of lists such as [[{\"subnet\": \"10.88.0.0/16\"}]]"
	v, given := parent.Member(name)
	if !given || v.Kind == conftree.Null {
		return
	}
	sets := s.list(parentKey+"."+name, v, remedy)
	for i, set := range sets {
		key := fmt.Sprintf("%s.%s[%d]", parentKey, name, i)
		for j, span := range s.list(key, set, remedy) {
			key := fmt.Sprintf("%s[%d]", key, j)
			if span.Kind != conftree.Object {
				s.WrongType(key, span, remedy)
			} else if subnet, given := span.Member("subnet"); given {
				s.subnet(key+".subnet", subnet)
			} // host-local refuses a range without a subnet
		}
	}
}

func (s *subnetReader) list(key string, v conftree.Value, remedy string) []conftree.Value {
	if v.Kind != conftree.List {
		s.WrongType(key, v, remedy)
	}
	return v.Items
}

func (s *subnetReader) subnet(key string, v conftree.Value) {
	text, ok := s.Text(key, v, "give a prefix such as \"10.88.0.0/16\"")
	if !ok {
		return
	}
	p, bad := masq.ParsePrefix(text)
	if bad == nil && p.Bits() == 0 {
		bad = &masq.Problem{Wrong: wholeFamily, Remedy: "give the network's own prefix"}
	}
	switch {
	case bad != nil:
		s.Fault(v.Place, key, v.Show(), bad.Wrong, bad.Remedy)
	case !p.IsSingleIP() && !slices.Contains(s.subnets, p):
		s.subnets = append(s.subnets, p)
	}
}
