package nodeconf

import "strings"

// boolean reads a boolean.
func (r *reader) boolean(k key, v value, to *[]found[bool]) {
	b, ok := v.boolean()
	switch {
	case v.kind == isNull && k.agents: // as absent: encoding/json
	case !ok:
		r.wrongType(k.name, v, "give true or false, or remove the key")
	default:
		*to = append(*to, found[bool]{v.place, b, v.show()})
	}
}

// or lets true in one file be true, as Azure's ip-masq-agent-v2 merges its two.
func or(a, b bool) bool { return a && !b }

// boolean reads what is one to JSON or to YAML 1.1, which ip-masq-agent's library
// reads (sigs.k8s.io/yaml/goyaml.v2, resolve.go).
func (v value) boolean() (b, ok bool) {
	if v.kind == isBoolean {
		return strings.EqualFold(v.text, "true"), true
	}
	if v.kind != isString || !v.plain {
		return false, false
	}
	switch v.text {
	case "y", "Y", "yes", "Yes", "YES", "on", "On", "ON":
		return true, true
	case "n", "N", "no", "No", "NO", "off", "Off", "OFF":
		return false, true
	}
	return false, false
}
