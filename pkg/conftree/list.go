package conftree

import (
	"fmt"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Texts reads a list of strings.
func (r *Reader) Texts(key string, v Value, most int, remedy string) []Value {
	if v.Kind != List {
		r.WrongType(key, v, remedy)
		return nil
	}
	if n := len(v.Items); n > most {
		r.Fault(v.Place, key, v.Show(), fmt.Sprintf("has %d entries", n), fmt.Sprintf("give at most %d", most))
		return nil
	}
	var out []Value
	for _, item := range v.Items {
		switch item.Kind {
		case String:
			out = append(out, item)
		case Invalid:
		default:
			r.WrongType(key, item, remedy)
		}
	}
	return out
}

// Prefixes reads a list of prefixes. A repeated prefix is a fault unless mayRepeat is set.
func (r *Reader) Prefixes(key string, v Value, mayRepeat bool) []Found[netip.Prefix] {
	return parseList(r, key, r.Texts(key, v, masq.MaxPrefixes, "give a list of prefixes such as [\"10.0.0.0/8\"]"), masq.ParsePrefix, mayRepeat)
}

// EgressAddresses reads a list of addresses that packets leave the node with.
func (r *Reader) EgressAddresses(key string, v Value) []Found[netip.Addr] {
	return parseList(r, key, r.Texts(key, v, masq.MaxSNATAddresses, "give a list of addresses such as [\"192.0.2.1\"]"), masq.ParseEgressAddress, false)
}

// Annotations reads a list of annotations that pods may use.
func (r *Reader) Annotations(key string, v Value) []Found[string] {
	remedy := fmt.Sprintf("give a list of annotations such as [%q]", masq.EgressAnnotation)
	return parseList(r, key, r.Texts(key, v, len(masq.Annotations), remedy), masq.ParseAnnotation, false)
}

func parseList[T comparable](r *Reader, key string, items []Value, parse func(string) (T, *masq.Problem), mayRepeat bool) []Found[T] {
	var out []Found[T]
	seen := map[T]Place{}
	for _, item := range items {
		value, bad := parse(item.Text)
		if bad != nil {
			r.Fault(item.Place, key, item.Show(), bad.Wrong, bad.Remedy)
			continue
		}
		if first, repeated := seen[value]; !repeated {
			seen[value] = item.Place
			out = append(out, Found[T]{item.Place, value, item.Show()})
		} else if !mayRepeat {
			r.repeated(item.Place, key, item.Show(), first)
		}
	}
	return out
}

// repeated adds the fault that a value, or a key if value is empty, is given twice.
func (r *Reader) repeated(at Place, key, value string, first Place) {
	r.Fault(at, key, value, "is given twice, first "+first.From(at), "keep one of them")
}

// RepeatedKeys adds the fault of each key of an object that is given twice. name returns
// the name of a key in messages; keys with one name are one key, and a key without a
// name is ignored.
func (r *Reader) RepeatedKeys(v Value, name func(key string) string) {
	first := map[string]Place{}
	for _, m := range v.Members {
		if m.Key.Kind == Invalid || m.Key.Kind == List || m.Key.Kind == Object {
			continue
		}
		k := name(m.Key.Text)
		if k == "" {
			continue
		}
		if at, repeated := first[k]; repeated {
			r.repeated(m.Key.Place, k, "", at)
		} else {
			first[k] = m.Key.Place
		}
	}
}

// InBoth adds the fault of each masqueraded prefix that is in the list of direct
// prefixes too: the longest prefix decides, so that such a prefix decides nothing.
func (r *Reader) InBoth(direct, masqueraded []Found[netip.Prefix]) {
	for _, p := range masqueraded {
		if other := Given(direct, p.Value); other != nil {
			r.Fault(p.Place, "masqueradeCIDRs", p.Shown, "is in nonMasqueradeCIDRs too, "+other.From(p.Place), "keep one of them")
		}
	}
}

// NotEgress adds the fault of each routed address that is not an egress address, so
// that a misspelled address is not taken for a second list.
func (r *Reader) NotEgress(routed, egress []Found[netip.Addr]) {
	for _, a := range routed {
		if Given(egress, a.Value) == nil {
			r.Fault(a.Place, "snatAddressesRouted", a.Shown, "is not one of snatAddresses", "add it to snatAddresses, or remove it")
		}
	}
}

// TooManyPairs adds the fault that addresses and port ranges make too many pairs.
func (r *Reader) TooManyPairs(ports Found[[]masq.PortRange], egress []netip.Addr) {
	if wrong := masq.TooManyPairs(len(ports.Value), egress); wrong != "" {
		r.Fault(ports.Place, "toPorts", ports.Shown, "is not valid: "+wrong, fmt.Sprintf("give fewer addresses or fewer ranges, for at most %d pairs", masq.MaxMappings))
	}
}
