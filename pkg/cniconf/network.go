package cniconf

import (
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/utils"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// unversioned is the version of a configuration without cniVersion.
const unversioned = "0.1.0"

// version returns the version of CNI that the configuration is written in, or "" if it
// is faulty.
func (r *reader) version() string {
	if _, given := r.value("cniVersion"); !given {
		return unversioned
	}
	supported := version.All.SupportedVersions()
	v, place, ok := r.text("cniVersion", "give a version such as \"1.1.0\"")
	switch {
	case !ok:
		return ""
	case v == "":
		return unversioned
	case !slices.Contains(supported, v):
		r.unsupported.Fault(place, "cniVersion", masq.Quote(v), "is not a supported version of CNI", "give one of "+strings.Join(supported, ", "))
		return ""
	}
	return v
}

// name returns the name of the network, or "" if it is faulty.
func (r *reader) name() string {
	const remedy = "give letters, digits, \"_\", \".\" and \"-\", the first a letter or digit"
	if _, given := r.value("name"); !given {
		r.Fault(conftree.Place{}, "name", "", "is missing", remedy)
		return ""
	}
	name, place, ok := r.text("name", remedy)
	if ok && utils.ValidateNetworkName(name) != nil {
		r.Fault(place, "name", masq.Quote(name), "is not the name of a network", remedy)
		return ""
	}
	return name
}
