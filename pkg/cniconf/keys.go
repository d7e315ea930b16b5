package cniconf

import (
	"slices"
	"strings"
)

// ourKeys are those whose meaning and strictness is the plugin's, in the order
// in which faults are reported.
var ourKeys = []string{
	"mtu", "ipMasq", "ipMasqBackend", "nonMasqueradeCIDRs", "masqueradeCIDRs",
	"masqLinkLocal", "masqLinkLocalIPv6", "snatAddresses", "toPorts", "randomFully",
	"mssClamp", "helpers", "spoofCheck", "dropInvalid", "stateDir",
}

// policyKeys are those that make up a policy: a network that gives one of them
// has a policy of its own.
var policyKeys = []string{
	"nonMasqueradeCIDRs", "masqueradeCIDRs", "masqLinkLocal", "masqLinkLocalIPv6",
	"snatAddresses", "toPorts", "randomFully", "mssClamp", "helpers", "dropInvalid",
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

// nearest returns the candidate that a misspelled word probably means, or "".
// A third of the letters may be wrong; upper and lower case do not count.
func nearest(word string, candidates []string) string {
	best, least := "", max(1, min(3, len(word)/3))+1
	for _, c := range candidates {
		if d := len(word) - len(c); d >= least || -d >= least {
			continue // also keeps a word of a megabyte from being compared
		}
		if d := distance(strings.ToLower(word), strings.ToLower(c)); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete, replace or swap with
// their neighbour to get from a to b (optimal string alignment).
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := d[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
