package cniconf

import (
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// ValidateInterface returns a *types.Error for a CNI_IFNAME that must not become a name in
// the kernel, a comment in nftables or text on a terminal. Tenants may be able to choose it
// (Multus: NETWORK@INTERFACE), and libcni accepts every name that the kernel accepts. nft has
// no escape for a quote within a comment, so that a listing of the rules could not be loaded
// again. The kernel treats % as a pattern.
//
// It is for ADD only: DEL must remove an attachment of an earlier version with such a name.
func ValidateInterface(name string) error {
	wrong := ""
	switch {
	case !isPrintable(name):
		wrong = unprintable
	case strings.ContainsAny(name, "\"\\%"):
		wrong = "has a quote, a backslash or a percent sign"
	default:
		return nil
	}
	return types.NewError(types.ErrInvalidEnvironmentVariables, "invalid environment variable CNI_IFNAME",
		"CNI_IFNAME: "+masq.Quote(name)+" "+wrong+"; give a name such as \"eth0\"")
}
