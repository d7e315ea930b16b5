package nodeconf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

const helpersMend = "give names with lists of ports, such as {\"ftp\": [21]}"

// helpers reads the protocols whose payload the kernel has to follow, and unites
// them with those of other files.
func (r *reader) helpers(k key, v value) {
	if v.kind != isObject {
		r.wrongType(k.name, v, helpersMend)
		return
	}
	first := map[string]place{}
	for _, m := range v.members {
		if m.key.kind == isUnread || m.value.kind == isUnread {
			continue
		}
		name := m.key.text
		kind, known := masq.HelperKindOf(name)
		if m.key.kind != isString || !known {
			r.fault(m.key.place, k.name, m.key.show(), "unknown helper", "use one of "+strings.Join(masq.HelperNames(), ", "))
			continue
		}
		at := k.name + "." + name
		if before, again := first[name]; again {
			r.fault(m.key.place, at, m.value.show(), "given twice, before "+before.from(m.key.place), "keep one")
			continue
		}
		first[name] = m.key.place
		if ports, ok := r.helperPorts(at, kind, m.value); ok {
			r.oneHelper(at, found[masq.Helper]{m.value.place, masq.Helper{Name: name, Ports: ports}, m.value.show()})
		}
	}
}

// oneHelper adds a helper, which two files can give only with the same ports.
func (r *reader) oneHelper(key string, h found[masq.Helper]) {
	i := slices.IndexFunc(r.s.helpers, func(o found[masq.Helper]) bool { return o.value.Name == h.value.Name })
	if i < 0 {
		r.s.helpers = append(r.s.helpers, h)
		return
	}
	if o := r.s.helpers[i]; !slices.Equal(o.value.Ports, h.value.Ports) {
		r.fault(h.place, key, h.shown, fmt.Sprintf("differs from %s %s", o.shown, o.from(h.place)), "give one of them")
	}
}

// helperPorts reads the ports of one helper; with none, it is the one that the
// protocol is assigned.
func (r *reader) helperPorts(key string, kind masq.HelperKind, v value) ([]uint16, bool) {
	const mend = "give ports of 1-65535"
	if v.kind != isList {
		r.wrongType(key, v, fmt.Sprintf("give a list of ports such as [%d]", kind.Ports()[0]))
		return nil, false
	}
	if len(v.items) == 0 {
		return kind.Ports(), true
	}
	ports, sound := []uint16(nil), true
	for _, item := range v.items {
		n, ok := item.whole()
		switch {
		case item.kind == isUnread:
		case item.kind != isNumber:
			r.wrongType(key, item, mend)
		case !ok || n < 1 || n > 65535:
			r.fault(item.place, key, item.show(), "is not a port", mend)
		case slices.Contains(ports, uint16(n)):
			r.fault(item.place, key, item.show(), "given twice", "keep one")
		default:
			ports = append(ports, uint16(n))
			continue
		}
		sound = false
	}
	slices.Sort(ports)
	return ports, sound
}

// oneHelperEach reports ports that another helper has over the same transport
// protocol: a connection has one helper, so one of the two would never work. It
// returns the helpers in the order of masq.HelperKinds.
func (r *reader) oneHelperEach() []masq.Helper {
	var out []masq.Helper
	type port struct {
		protocol string
		number   uint16
	}
	owner := map[port]found[masq.Helper]{}
	for _, kind := range masq.HelperKinds {
		i := slices.IndexFunc(r.s.helpers, func(h found[masq.Helper]) bool { return h.value.Name == kind.Name })
		if i < 0 {
			continue
		}
		h := r.s.helpers[i]
		out = append(out, h.value)
		for _, number := range h.value.Ports {
			for _, a := range kind.Assign {
				at := port{a.Protocol, number}
				other, taken := owner[at]
				if !taken {
					owner[at] = h
				} else if other.value.Name != kind.Name {
					r.fault(h.place, "helpers."+kind.Name, fmt.Sprint(number),
						fmt.Sprintf("%s port %d is %s's already, %s", a.Protocol, number, other.value.Name, other.from(h.place)),
						"give each port to one helper")
					break // the other protocol would say the same
				}
			}
		}
	}
	return out
}
