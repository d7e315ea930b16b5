package cniconf

import (
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// ValidateInterface reports a CNI_IFNAME that must not become a name in the kernel, a
// comment in nftables or text on a terminal, as a *types.Error. Networks can let tenants
// choose it (Multus: NETWORK@INTERFACE). libcni's own rule is only that the kernel takes
// the name. nft has no escape for a quote within a comment, so that a listing of the
// rules could not be loaded again; the kernel takes % for a pattern.
//
// It is for ADD alone: what an earlier version admitted has to be removable.
func ValidateInterface(name string) error {
	wrong := ""
	switch {
	case !isPrintable(name):
		wrong = "has characters that cannot be printed"
	case strings.ContainsAny(name, "\"\\%"):
		wrong = "has a quote, a backslash or a percent sign"
	default:
		return nil
	}
	return types.NewError(types.ErrInvalidEnvironmentVariables, "invalid environment variable CNI_IFNAME",
		"CNI_IFNAME: "+masq.Quote(name)+": "+wrong+"; give a name such as \"eth0\"")
}
