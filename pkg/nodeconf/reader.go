package nodeconf

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// settings are what all files together give, each with its place.
type settings struct {
	listed        bool // a file gives nonMasqueradeCIDRs
	nonMasquerade []found[netip.Prefix]
	masquerade    []found[netip.Prefix]
	sources       []found[netip.Prefix]
	snat, routed  []found[netip.Addr]
	helpers       []found[masq.Helper]
	// annotations is nil where no file gives allowAnnotations.
	annotations []found[string]

	// Of these, one value of several files counts before the others.
	linkLocal4, linkLocal6   []found[bool]
	randomFully, dropInvalid []found[bool]
	otherLinks               []found[bool]
	resync                   []found[time.Duration]

	// These can have one value only.
	toPorts *found[[]masq.PortRange]
	clamp   *found[masq.Clamp]
}

// reader takes files apart key by key and collects what is wrong, so that a
// fault does not hide the others. Lists are united, booleans or-ed, and of the
// others two that differ are a fault.
type reader struct {
	s     settings
	limit int // cidrLimit of the file that is being read
	faults
	warnings faults
}

// manifest are keys of a ConfigMap's own, which people give by mistake.
var manifest = map[string]bool{"apiVersion": true, "kind": true, "metadata": true, "data": true}

// file reads one file.
func (r *reader) file(name string, data []byte) {
	top := decode(name, data, &r.faults)
	switch top.kind {
	case isUnread, isNull:
		return
	case isObject:
	default:
		r.fault(top.place, "", top.show(), string(top.kind), "give keys and values, such as nonMasqueradeCIDRs: [10.0.0.0/8]")
		return
	}
	given := map[string]value{}
	first := map[string]place{}
	for _, m := range top.members {
		k, known := r.key(m)
		if k == "" {
			continue
		}
		if before, again := first[k]; again {
			r.fault(m.key.place, shownKey(k), m.value.show(), "given twice, before "+before.from(m.key.place), "keep one")
			continue
		}
		first[k] = m.key.place
		if known && m.value.kind != isUnread {
			given[k] = m.value
		}
	}
	r.limit = defaultLimit
	if n, ok := given["cidrLimit"].whole(); ok {
		r.limit = n
	}
	for _, k := range keys {
		if v, ok := given[k.name]; ok {
			k.read(r, k, v)
		}
	}
}

// key returns the name of a member's key, and whether it is one that there is.
func (r *reader) key(m member) (name string, known bool) {
	switch m.key.kind {
	case isUnread:
		return "", false
	case isList, isObject:
		r.fault(m.key.place, "", m.key.show(), string(m.key.kind), "give a key")
		return "", false
	}
	if k, ok := keyOf(m.key.text); ok {
		return k.name, true
	}
	mend := masq.UnknownKey(m.key.text, keyNames())
	switch {
	case manifest[m.key.text]:
		mend = "give what the ConfigMap holds below data, not its manifest"
	case m.value.kind == isString && (m.key.text == "config" || strings.Contains(m.value.text, "\n")):
		mend = fmt.Sprintf("give the text that the ConfigMap holds below data.%s, without this key and without its indentation", m.key.text)
	}
	r.fault(m.key.place, masq.Quote(m.key.text), m.value.show(), "unknown key", mend)
	return m.key.text, false
}

// shownKey quotes what is no key of ours.
func shownKey(name string) string {
	if _, ok := keyOf(name); ok {
		return name
	}
	return masq.Quote(name)
}

func (r *reader) wrongType(key string, v value, mend string) {
	r.fault(v.place, key, v.show(), string(v.kind), mend)
}

// texts returns the strings of a list.
func (r *reader) texts(key string, v value, most int, mend string) []value {
	if v.kind != isList {
		r.wrongType(key, v, mend)
		return nil
	}
	if n := len(v.items); n > most {
		r.fault(v.place, key, v.show(), fmt.Sprintf("has %d entries", n), fmt.Sprintf("give at most %d", most))
		return nil
	}
	var out []value
	for _, item := range v.items {
		switch item.kind {
		case isString:
			out = append(out, item)
		case isUnread:
		default:
			r.wrongType(key, item, mend)
		}
	}
	return out
}

// prevail sets a setting that the first in order of several values decides, and
// warns of each that has no effect beside it.
func prevail[T comparable](r *reader, key string, to *T, given []found[T], before func(a, b T) bool) {
	if len(given) == 0 {
		return
	}
	first := given[0]
	for _, f := range given {
		if before(f.value, first.value) {
			first = f
		}
	}
	*to = first.value
	for _, f := range given {
		if f.value != first.value {
			r.warnings.fault(f.place, key, f.shown, fmt.Sprintf("gives way to %s %s", first.shown, first.from(f.place)), "give one of them")
		}
	}
}

// once merges a setting that can have one value only.
func once[T any](r *reader, key string, to **found[T], now found[T], equal func(a, b T) bool) {
	before := *to
	switch {
	case before == nil:
		*to = &now
	case !equal(before.value, now.value):
		r.fault(now.place, key, now.shown, fmt.Sprintf("differs from %s %s", before.shown, before.from(now.place)), "give one of them")
	}
}
