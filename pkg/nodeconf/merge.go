package nodeconf

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// boolean reads a boolean.
func (r *reader) boolean(k key, v conftree.Value, to *[]conftree.Found[bool]) {
	if v.Kind == conftree.Null && k.ofAgent {
		return // encoding/json ignores it
	}
	if b, ok := r.Boolean(k.name, v); ok {
		*to = append(*to, conftree.Found[bool]{Place: v.Place, Value: b, Shown: v.Show()})
	}
}

// prefixes reads a list of prefixes and unites it with the lists of other files.
func (r *reader) prefixes(k key, v conftree.Value, to *[]conftree.Found[netip.Prefix]) {
	unite(r, k.name, to, r.Prefixes(k.name, v, k.ofAgent), masq.MaxPrefixes)
}

// addresses reads a list of egress addresses and unites it with the lists of other files.
func (r *reader) addresses(k key, v conftree.Value, to *[]conftree.Found[netip.Addr]) {
	unite(r, k.name, to, r.EgressAddresses(k.name, v), masq.MaxSNATAddresses)
}

// annotations reads a list of annotations and unites it with the lists of other files.
func (r *reader) annotations(k key, v conftree.Value) {
	r.s.annotationsListed = true
	unite(r, k.name, &r.s.annotations, r.Annotations(k.name, v), len(masq.Annotations))
}

// helpers reads conntrack helpers. Two files can give one helper only with the same ports.
func (r *reader) helpers(k key, v conftree.Value) {
	for _, h := range r.Helpers(k.name, v) {
		i := slices.IndexFunc(r.s.helpers, func(o conftree.Found[masq.Helper]) bool { return o.Value.Name == h.Value.Name })
		if i < 0 {
			r.s.helpers = append(r.s.helpers, h)
		} else if o := r.s.helpers[i]; !slices.Equal(o.Value.Ports, h.Value.Ports) {
			conflict(r, k.name+"."+h.Value.Name, h, o)
		}
	}
}

// mssClamps reads MSS clamps by prefix. Two files can give one prefix only with the same MSS.
func (r *reader) mssClamps(k key, v conftree.Value) {
	var others []conftree.Found[conftree.MSSClamp]
	for _, c := range r.MSSClamps(k.name, v) {
		i := slices.IndexFunc(r.s.clamps, func(o conftree.Found[conftree.MSSClamp]) bool { return o.Value.Prefix == c.Value.Prefix })
		if i >= 0 && r.s.clamps[i].Value.MSS != c.Value.MSS {
			conflict(r, k.name, c, r.s.clamps[i])
			continue
		}
		others = append(others, c)
	}
	unite(r, k.name, &r.s.clamps, others, masq.MaxPrefixes)
}

// unite adds the entries of one file to a list that several files give.
func unite[T comparable](r *reader, key string, to *[]conftree.Found[T], entries []conftree.Found[T], limit int) {
	for _, entry := range entries {
		switch {
		case conftree.Find(*to, entry.Value) != nil:
		case len(*to) < limit:
			*to = append(*to, entry)
		default:
			r.Fault(entry.Place, key, entry.Shown, fmt.Sprintf("exceeds the limit of %d entries of all files together", limit), "remove entries")
		}
	}
}

// single merges a setting that can have only one value.
func single[T any](r *reader, key string, to **conftree.Found[T], given conftree.Found[T], equal func(a, b T) bool) {
	if *to == nil {
		*to = &given
	} else if !equal((*to).Value, given.Value) {
		conflict(r, key, given, **to)
	}
}

func conflict[T any](r *reader, key string, given, other conftree.Found[T]) {
	r.Fault(given.Place, key, given.Shown, fmt.Sprintf("conflicts with %s %s", other.Shown, other.From(given.Place)), "keep one of them")
}

// override sets a setting to the first in order of several values, and warns of each
// value that has no effect.
func override[T comparable](r *reader, key string, to *T, given []conftree.Found[T], before func(a, b T) bool) {
	if len(given) == 0 {
		return
	}
	first := given[0]
	for _, f := range given {
		if before(f.Value, first.Value) {
			first = f
		}
	}
	*to = first.Value
	for _, f := range given {
		if f.Value != first.Value {
			r.warnings.Fault(f.Place, key, f.Shown, fmt.Sprintf("has no effect: %s %s overrides it", first.Shown, first.From(f.Place)), "keep one of them")
		}
	}
}
