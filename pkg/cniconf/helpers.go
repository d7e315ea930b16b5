package cniconf

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

const helpersMend = "give names with lists of ports, such as {\"ftp\": [21]}"

// helpers reads the protocols whose payload the kernel has to follow, in the
// order of masq.HelperKinds.
func (r *reader) helpers() []masq.Helper {
	const key = "helpers"
	raw, given := r.value(key)
	if !given {
		return nil
	}
	o, ok := asObject(raw)
	if !ok {
		r.wrongType(key, raw, helpersMend)
		return nil
	}
	r.repetitions(key, key, o)
	for _, name := range o.keys {
		if _, known := masq.HelperKindOf(name); !known {
			r.add(key, masq.Quote(name), "unknown helper", "use one of "+strings.Join(masq.HelperNames(), ", "))
		}
	}
	var (
		out   []masq.Helper
		owner = map[string]string{} // transport protocol and port -> helper
	)
	for _, kind := range masq.HelperKinds {
		raw, given := o.values[kind.Name]
		if !given {
			continue
		}
		h := masq.Helper{Name: kind.Name, Ports: r.helperPorts(kind, raw)}
		r.oneHelperEach(kind, h.Ports, owner)
		out = append(out, h)
	}
	return out
}

// helperPorts reads the ports of one helper; with none, it is the one that the
// protocol is assigned.
func (r *reader) helperPorts(kind masq.HelperKind, raw json.RawMessage) []uint16 {
	const key, mend = "helpers", "give ports of 1-65535"
	place := key + "." + kind.Name
	list, ok := asList(raw)
	if !ok {
		r.addAt(key, place, show(raw), string(kindOf(raw)), fmt.Sprintf("give a list of ports such as [%d]", kind.Ports()[0]))
		return nil
	}
	if len(list) == 0 {
		return kind.Ports()
	}
	var ports []uint16
	for _, raw := range list {
		n, ok := asWhole(raw)
		switch {
		case !ok && kindOf(raw) != isNumber:
			r.addAt(key, place, show(raw), string(kindOf(raw)), mend)
		case !ok || n < 1 || n > 65535:
			r.addAt(key, place, show(raw), "is not a port", mend)
		case slices.Contains(ports, uint16(n)):
			r.addAt(key, place, show(raw), "given twice", "keep one")
		default:
			ports = append(ports, uint16(n))
		}
	}
	slices.Sort(ports)
	return ports
}

// oneHelperEach reports ports that another helper has over the same transport
// protocol: a connection has one helper, so one of the two would never work.
func (r *reader) oneHelperEach(kind masq.HelperKind, ports []uint16, owner map[string]string) {
	for _, port := range ports {
		var also []string
		for _, a := range kind.Assign {
			at := fmt.Sprintf("%s port %d", a.Protocol, port)
			switch other := owner[at]; other {
			case "", kind.Name:
				owner[at] = kind.Name
			default:
				also = append(also, fmt.Sprintf("%s is %s's already", at, other))
			}
		}
		if len(also) > 0 {
			r.addAt("helpers", "helpers."+kind.Name, fmt.Sprint(port), strings.Join(also, ", "), "give each port to one helper")
		}
	}
}
