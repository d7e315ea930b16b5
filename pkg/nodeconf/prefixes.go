package nodeconf

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

const (
	// defaultLimit is ip-masq-agent's cidrLimit. There it counts the entries of
	// nonMasqueradeCIDRs, link-local not included; in Azure's ip-masq-agent-v2,
	// those of each file for itself.
	defaultLimit = 64

	prefixesMend = "give a list of prefixes such as [\"10.0.0.0/8\"]"
)

// cidrLimit reports what nonMasquerade does not take.
func (r *reader) cidrLimit(k key, v value) {
	const mend = "give a whole number such as 64, or remove the key"
	n, ok := v.whole()
	switch {
	case v.kind == isNull: // as absent: encoding/json
	case v.kind != isNumber:
		r.wrongType(k.name, v, mend)
	case !ok:
		r.fault(v.place, k.name, v.show(), "is not a whole number in plain digits", mend)
	case n < 0:
		r.fault(v.place, k.name, v.show(), "is negative", mend)
	}
}

func (r *reader) nonMasquerade(k key, v value) {
	r.s.listed = true
	if v.kind == isNull {
		return // encoding/json makes an empty list of it, and there that masquerades everything
	}
	if n := len(v.items); v.kind == isList && n > r.limit && r.limit >= 0 {
		r.fault(v.place, k.name, v.show(), fmt.Sprintf("has %d entries, and cidrLimit is %d", n, r.limit), "remove some, or raise cidrLimit")
		return
	}
	r.prefixes(k, v, &r.s.nonMasquerade)
}

// prefixes reads a list of prefixes and unites it with those of other files.
func (r *reader) prefixes(k key, v value, to *[]found[netip.Prefix]) {
	for _, item := range r.texts(k.name, v, masq.MostPrefixes, prefixesMend) {
		p, bad := masq.ParsePrefix(item.text)
		if bad != nil {
			r.fault(item.place, k.name, item.show(), bad.Wrong, bad.Mend)
			continue
		}
		r.again(k.name, item, before(*to, p), k.agents)
		unite(r, k.name, to, found[netip.Prefix]{item.place, p, item.show()}, masq.MostPrefixes)
	}
}

// before finds where a list has a value already.
func before[T comparable](list []found[T], v T) *place {
	if i := slices.IndexFunc(list, func(f found[T]) bool { return f.value == v }); i >= 0 {
		return &list[i].place
	}
	return nil
}

// again reports an entry that its own file had before. ip-masq-agent does not
// mind.
func (r *reader) again(key string, item value, before *place, allowed bool) {
	if before != nil && before.file == item.file && !allowed {
		r.fault(item.place, key, item.show(), "given twice, before "+before.from(item.place), "keep one")
	}
}

// unite adds an entry to a list that does not have it.
func unite[T comparable](r *reader, key string, to *[]found[T], entry found[T], most int) {
	switch {
	case before(*to, entry.value) != nil:
	case len(*to) < most:
		*to = append(*to, entry)
	default:
		r.fault(entry.place, key, entry.shown, fmt.Sprintf("is one more than %d, together with the files before", most), "remove some")
	}
}
