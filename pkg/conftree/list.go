package conftree

import (
	"fmt"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Texts reads a list of at most limit strings.
func (r *Reader) Texts(key string, v Value, limit int, remedy string) []Value {
	if v.Kind != List {
		r.WrongType(key, v, remedy)
		return nil
	}
	if n := len(v.Items); n > limit {
		r.Fault(v.Place, key, v.Show(), fmt.Sprintf("has %d entries", n), fmt.Sprintf("give at most %d", limit))
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

// EgressAddresses reads a list of egress addresses: the source addresses of packets after
// translation.
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

// CheckRepeatedKeys adds a fault for each key of an object that is given twice. name returns
// the name of a key in messages. Keys with the same name count as the same key. A key for
// which name returns "" is ignored.
func (r *Reader) CheckRepeatedKeys(v Value, name func(key string) string) {
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

// CheckPrefixes adds a fault for each masqueraded prefix that is also a direct prefix. The
// longest prefix decides whether a destination is masqueraded, so these two contradict each
// other.
func (r *Reader) CheckPrefixes(direct, masqueraded []Found[netip.Prefix]) {
	for _, p := range masqueraded {
		if other := Find(direct, p.Value); other != nil {
			r.Fault(p.Place, "masqueradeCIDRs", p.Shown, "is in nonMasqueradeCIDRs too, "+other.From(p.Place), "keep one of them")
		}
	}
}

// CheckRouted adds a fault for each address of snatAddressesRouted that is not in
// snatAddresses. Such an address has no effect, and is probably misspelled.
func (r *Reader) CheckRouted(routed, egress []Found[netip.Addr]) {
	for _, a := range routed {
		if Find(egress, a.Value) == nil {
			r.Fault(a.Place, "snatAddressesRouted", a.Shown, "is not one of snatAddresses", "add it to snatAddresses, or remove it")
		}
	}
}

// CheckPairs adds a fault if there are more than masq.MaxMappings pairs of an egress address
// and a port range.
func (r *Reader) CheckPairs(ports Found[[]masq.PortRange], egress []netip.Addr) {
	if wrong := masq.TooManyPairs(len(ports.Value), egress); wrong != "" {
		r.Fault(ports.Place, "toPorts", ports.Shown, "is not valid: "+wrong, fmt.Sprintf("give fewer addresses or fewer ranges, for at most %d pairs", masq.MaxMappings))
	}
}
