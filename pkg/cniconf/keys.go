package cniconf

import (
	"slices"
	"strings"
)

// ourKeys are those whose meaning and strictness is the plugin's, in the order
// in which faults are reported.
var ourKeys = []string{
	"mtu", "ipMasq", "ipMasqBackend", "nonMasqueradeCIDRs", "masqueradeCIDRs",
	"masqLinkLocal", "masqLinkLocalIPv6", "snatAddresses", "snatAddressesRouted", "toPorts", "randomFully",
	"mssClamp", "helpers", "spoofCheck", "dropInvalid", "acceptOtherLinks", "allowAnnotations", "stateDir",
}

// policyKeys are those that make up a policy: a network that gives one of them
// has a policy of its own.
var policyKeys = []string{
	"nonMasqueradeCIDRs", "masqueradeCIDRs", "masqLinkLocal", "masqLinkLocalIPv6",
	"snatAddresses", "snatAddressesRouted", "toPorts", "randomFully", "mssClamp", "helpers", "dropInvalid",
	"acceptOtherLinks",
}

// The two spellings of the list that comes with GC: that of the specification,
// and the one that libcni wrote at first and still writes beside it
// (containernetworking/cni issue 1101).
const (
	validAttachmentsKey = "cni.dev/valid-attachments"
	attachmentsKey      = "cni.dev/attachments"
	cniPrefix           = "cni.dev/"
)

// argsPlace is where a fault of CNI_ARGS is reported.
const argsPlace = "CNI_ARGS"

// keyOrder is the order in which faults are reported: what identifies the
// network, then as in the documented configuration, then what a runtime adds.
var keyOrder = slices.Concat(
	[]string{"cniVersion", "name", "type", "ipam"},
	ourKeys,
	[]string{
		"capabilities", "runtimeConfig", "args", "dns", "prevResult", validAttachmentsKey, attachmentsKey,
		"disableCheck", "disableGC", "loadOnlyInlinedPlugins",
	},
)

// rankOf orders keys: known ones, unknown ones, then the environment.
func rankOf(key string) int {
	if i := slices.Index(keyOrder, key); i >= 0 {
		return i
	}
	if key == argsPlace {
		return len(keyOrder) + 1
	}
	return len(keyOrder)
}

func isKnown(key string) bool {
	return slices.Contains(keyOrder, key) || strings.HasPrefix(key, cniPrefix)
}
