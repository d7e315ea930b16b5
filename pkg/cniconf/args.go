package cniconf

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// maxName is the length of the longest name of a pod in Kubernetes, in bytes (a DNS
// subdomain, RFC 1123). podman passes names of containers, which have any length.
const maxName = 253

// clip shortens a name to maxName bytes. It cuts between characters.
func clip(name string) string {
	if len(name) <= maxName {
		return name
	}
	end := maxName
	for !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end]
}

// pod reads the name of the pod from CNI_ARGS: pairs KEY=VALUE, separated by semicolons.
// Other keys are ignored, with or without IgnoreUnknown.
func (r *reader) pod(args string) masq.Pod {
	var pod masq.Pod
	for pair := range strings.SplitSeq(args, ";") {
		if pair == "" { // without arguments, or after the last semicolon
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			r.args.Fault(conftree.Place{}, argsKey, masq.Quote(pair), "is not a pair", "give KEY=VALUE, separated by semicolons")
			continue
		}
		var to *string
		switch key {
		case "K8S_POD_NAMESPACE":
			to = &pod.Namespace
		case "K8S_POD_NAME":
			to = &pod.Name
		case "K8S_POD_UID":
			to = &pod.UID
		default:
			continue
		}
		if !isPrintable(value) {
			r.args.Fault(conftree.Place{}, argsKey+"."+key, masq.Quote(value), unprintable, "give the name as in Kubernetes")
			continue
		}
		*to = clip(value) // the last value of a repeated key counts, as in other plugins
	}
	return pod
}

// unprintable is the fault of a text that isPrintable refuses.
const unprintable = "has characters that cannot be printed"

// isPrintable reports whether a text has only characters that a terminal shows: no
// control characters, no directions, no joiners, no invalid UTF-8.
func isPrintable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsGraphic(c) })
}
