package masq

import (
	"fmt"
	"strings"
)

// otherProductKeys are keys of other products, in lower case, and the remedy for each.
var otherProductKeys = map[string]string{
	// Tencent TKE's ip-masq-agent, from 2.6.1: sources that are not masqueraded.
	"nonmasqueradesrccidrs": "it is a key of Tencent's ip-masq-agent; remove it, and give pods that are to keep their address the annotation masq-cni.dev/egress: direct",
	// Proposed for ip-masq-agent in its pull requests 57 and 206.
	"snattarget":           `give the address in the list "snatAddresses"`,
	"forcemasqueradecidrs": `write "masqueradeCIDRs"`,
}

// UnknownKey returns the remedy for a key that is not one of known.
func UnknownKey(key string, known []string) string {
	if remedy, ok := otherProductKeys[strings.ToLower(key)]; ok {
		return remedy
	}
	if near := Nearest(key, known); near != "" {
		return fmt.Sprintf("did you mean %q? If not, remove it", near)
	}
	return "remove it"
}
