package cniconf

import (
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/utils"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// unversioned is the version of a configuration that names none.
const unversioned = "0.1.0"

// version returns the version of CNI that the configuration is written in, or
// "" where it is unusable.
func (r *reader) version() string {
	if _, given := r.value("cniVersion"); !given {
		return unversioned
	}
	supported := version.All.SupportedVersions()
	v, ok := r.text("cniVersion", "give a version such as \"1.1.0\"")
	switch {
	case !ok:
		return ""
	case v == "":
		return unversioned
	case !slices.Contains(supported, v):
		r.faults = append(r.faults, fault{
			code: types.ErrIncompatibleCNIVersion, key: "cniVersion", value: masq.Quote(v),
			wrong: "unknown version of CNI", mend: "give one of " + strings.Join(supported, ", "),
		})
		return ""
	}
	return v
}

// name returns the name of the network, or "" where it is unusable.
func (r *reader) name() string {
	const mend = "give letters, digits, \"_\", \".\" and \"-\", the first a letter or digit"
	if _, given := r.value("name"); !given {
		r.add("name", `""`, "is missing", mend)
		return ""
	}
	name, ok := r.text("name", mend)
	if !ok {
		return ""
	}
	if utils.ValidateNetworkName(name) != nil {
		r.add("name", masq.Quote(name), "is not the name of a network", mend)
		return ""
	}
	return name
}
