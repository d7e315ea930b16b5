package cniconf

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// mostName is the longest name that Kubernetes gives a pod (a DNS subdomain,
// RFC 1123), in bytes. podman gives the names of its containers, of any length.
const mostName = 253

// clip shortens a name to mostName bytes, at the beginning of a character.
func clip(name string) string {
	if len(name) <= mostName {
		return name
	}
	end := mostName
	for !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end]
}

// pod reads who the container is from CNI_ARGS: pairs KEY=VALUE, separated by
// semicolons. Others' pairs are left alone, whatever IgnoreUnknown says.
func (r *reader) pod(args string) masq.Pod {
	var pod masq.Pod
	for pair := range strings.SplitSeq(args, ";") {
		if pair == "" { // of no arguments at all, or behind a last semicolon
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			r.argument(argsPlace, pair, "is not a pair", "give KEY=VALUE, separated by semicolons")
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
		place := argsPlace + "." + key
		switch {
		case !isPrintable(value):
			r.argument(place, value, "has characters that cannot be printed", "give the name as Kubernetes has it")
		default:
			*to = clip(value) // as with other plugins, the last one counts
		}
	}
	return pod
}

func (r *reader) argument(place, value, wrong, mend string) {
	r.faults = append(r.faults, fault{
		code: types.ErrInvalidEnvironmentVariables, key: argsPlace, place: place,
		value: masq.Quote(value), wrong: wrong, mend: mend,
	})
}

// isPrintable reports whether a text has no control characters and nothing else
// that a terminal obeys instead of showing: directions, joiners, broken UTF-8.
func isPrintable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsGraphic(c) })
}
