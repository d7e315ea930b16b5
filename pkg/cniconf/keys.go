package cniconf

import (
	"slices"
	"strings"
)

// ourKeys are the keys that CNI does not define, in the order of the documentation. For
// these null is a fault.
var ourKeys = []string{
	"mtu", "ipMasq", "ipMasqBackend", "nonMasqueradeCIDRs", "masqueradeCIDRs",
	"masqLinkLocal", "masqLinkLocalIPv6", "snatAddresses", "snatAddressesRouted", "toPorts", "randomFully",
	"mssClamp", "mssClamps", "mtuProbing", "helpers", "helpersRequired", "spoofCheck", "dropInvalid", "acceptOtherLinks", "allowAnnotations", "stateDir",
}

// policyKeys are the keys of a policy: a network that gives one of them has its own
// policy.
var policyKeys = []string{
	"nonMasqueradeCIDRs", "masqueradeCIDRs", "masqLinkLocal", "masqLinkLocalIPv6",
	"snatAddresses", "snatAddressesRouted", "toPorts", "randomFully", "mssClamp", "mssClamps", "helpers", "dropInvalid",
	"acceptOtherLinks",
}

// The two spellings of GC's list of attachments: the spelling of the specification, and
// the spelling that libcni wrote first and still writes too (containernetworking/cni
// issue 1101).
const (
	validAttachmentsKey = "cni.dev/valid-attachments"
	attachmentsKey      = "cni.dev/attachments"
	cniPrefix           = "cni.dev/"
)

// argsKey is the key of a fault of CNI_ARGS.
const argsKey = "CNI_ARGS"

// knownKeys are our keys and CNI's.
var knownKeys = slices.Concat(
	[]string{"cniVersion", "name", "type", "ipam"},
	ourKeys,
	[]string{
		"capabilities", "runtimeConfig", "args", "dns", "prevResult", validAttachmentsKey, attachmentsKey,
		"disableCheck", "disableGC", "loadOnlyInlinedPlugins",
	},
)

func isKnown(key string) bool {
	return slices.Contains(knownKeys, key) || strings.HasPrefix(key, cniPrefix)
}
