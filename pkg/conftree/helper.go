package conftree

import (
	"fmt"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Helpers reads an object of conntrack helpers with their ports. A helper without ports
// has the ports that the protocol is assigned.
func (r *Reader) Helpers(key string, v Value) []Found[masq.Helper] {
	if v.Kind != Object {
		r.WrongType(key, v, "give names with lists of ports, such as {\"ftp\": [21]}")
		return nil
	}
	var out []Found[masq.Helper]
	for _, m := range v.Members {
		if m.Key.Kind == Invalid || m.Value.Kind == Invalid {
			continue
		}
		kind, known := masq.HelperKindOf(m.Key.Text)
		if m.Key.Kind != String || !known {
			r.Fault(m.Key.Place, key, m.Key.Show(), "is an unknown helper", "use one of "+strings.Join(masq.HelperNames(), ", "))
			continue
		}
		if slices.ContainsFunc(out, func(h Found[masq.Helper]) bool { return h.Value.Name == kind.Name }) {
			continue // CheckRepeatedKeys reports it
		}
		if ports, ok := r.helperPorts(key+"."+kind.Name, kind, m.Value); ok {
			out = append(out, Found[masq.Helper]{m.Value.Place, masq.Helper{Name: kind.Name, Ports: ports}, m.Value.Show()})
		}
	}
	r.CheckRepeatedKeys(v, func(name string) string {
		if _, known := masq.HelperKindOf(name); !known {
			return ""
		}
		return key + "." + name
	})
	return out
}

func (r *Reader) helperPorts(key string, kind masq.HelperKind, v Value) (ports []uint16, ok bool) {
	const remedy = "give ports within 1-65535"
	if v.Kind != List {
		r.WrongType(key, v, fmt.Sprintf("give a list of ports such as [%d]", kind.Ports()[0]))
		return nil, false
	}
	if len(v.Items) == 0 {
		return kind.Ports(), true
	}
	seen := map[int]Place{}
	ok = true
	for _, item := range v.Items {
		n, whole := item.Whole()
		first, repeated := seen[n]
		switch {
		case item.Kind == Invalid:
		case item.Kind != Number:
			r.WrongType(key, item, remedy)
		case !whole || n < 1 || n > 65535:
			r.Fault(item.Place, key, item.Show(), "is not a port", remedy)
		case repeated:
			r.repeated(item.Place, key, item.Show(), first)
		default:
			seen[n] = item.Place
			ports = append(ports, uint16(n))
			continue
		}
		ok = false
	}
	slices.Sort(ports)
	return ports, ok
}

// DistinctHelpers returns helpers in the order of masq.HelperKinds. It adds a fault for each
// port that two helpers have over the same transport protocol: a connection has only one
// helper, so one of the two would never work.
func (r *Reader) DistinctHelpers(key string, all []Found[masq.Helper]) []masq.Helper {
	var out []masq.Helper
	type port struct {
		protocol string
		number   uint16
	}
	owner := map[port]Found[masq.Helper]{}
	for _, kind := range masq.HelperKinds {
		i := slices.IndexFunc(all, func(h Found[masq.Helper]) bool { return h.Value.Name == kind.Name })
		if i < 0 {
			continue
		}
		h := all[i]
		out = append(out, h.Value)
		for _, number := range h.Value.Ports {
			for _, a := range kind.Assign {
				at := port{a.Protocol, number}
				other, taken := owner[at]
				if !taken {
					owner[at] = h
				} else if other.Value.Name != kind.Name {
					r.Fault(h.Place, key+"."+kind.Name, fmt.Sprint(number),
						fmt.Sprintf("is a %s port of %s already, %s", a.Protocol, other.Value.Name, other.From(h.Place)),
						"give each port to one helper")
					break // the same port of the other protocol is the same fault
				}
			}
		}
	}
	return out
}
