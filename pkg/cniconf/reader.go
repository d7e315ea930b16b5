package cniconf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// reader takes a configuration apart key by key and collects what is wrong, so
// that a fault in one key does not hide those of the others.
type reader struct {
	top object
	faults
}

// newReader decodes stdin. Where that fails, the reader has one fault and no
// keys.
func newReader(stdin []byte) *reader {
	r := &reader{}
	undecodable := func(value, wrong string) *reader {
		r.faults = faults{{
			code: types.ErrDecodingFailure, key: "stdin", value: value,
			wrong: wrong, mend: "give one JSON object",
		}}
		return r
	}
	if !utf8.Valid(stdin) {
		return undecodable(masq.Quote(string(stdin)), "is not UTF-8")
	}
	var raw json.RawMessage
	if err := json.Unmarshal(stdin, &raw); err != nil {
		return undecodable(masq.Quote(string(stdin)), "is not JSON: "+masq.Clip(err.Error()))
	}
	raw = bytes.TrimSpace(raw)
	top, ok := asObject(raw)
	if !ok {
		return undecodable(show(raw), string(kindOf(raw)))
	}
	r.top = top
	r.unknownKeys()
	r.repetitions("", "", top)
	return r
}

func (r *reader) unknownKeys() {
	for _, key := range r.top.keys {
		if isKnown(key) {
			continue
		}
		r.addAt(key, masq.Quote(key), show(r.top.values[key]), "unknown key", masq.UnknownKey(key, keyOrder))
	}
}

// repetitions reports keys that an object has twice. The object is the
// configuration itself, or the one at a place below one of its keys.
func (r *reader) repetitions(key, place string, o object) {
	for _, a := range o.again {
		at, below := a.key, a.key
		if !slices.Contains(keyOrder, a.key) || place != "" {
			below = masq.Quote(a.key)
		}
		if place != "" {
			at, below = key, place+": "+below
		}
		r.addAt(at, below, show(a.second), "given twice, before as "+show(a.first), "keep one")
	}
}

// value returns what a key holds. One of CNI's that is null counts as absent.
func (r *reader) value(key string) (json.RawMessage, bool) {
	raw, given := r.top.values[key]
	if given && kindOf(raw) == isNull && !slices.Contains(ourKeys, key) {
		return nil, false
	}
	return raw, given
}

func (r *reader) wrongType(key string, raw json.RawMessage, mend string) {
	r.add(key, show(raw), string(kindOf(raw)), mend)
}

func (r *reader) boolean(key string, otherwise bool) bool {
	raw, given := r.value(key)
	if !given {
		return otherwise
	}
	if kindOf(raw) != isBoolean {
		r.wrongType(key, raw, "give true or false, or remove the key")
		return otherwise
	}
	return string(raw) == "true"
}

// text returns the string at a key, and whether there is one.
func (r *reader) text(key, mend string) (string, bool) {
	raw, given := r.value(key)
	if !given {
		return "", false
	}
	s, ok := asText(raw)
	if !ok {
		r.wrongType(key, raw, mend)
	}
	return s, ok
}

// texts returns the strings of the list at a key.
func (r *reader) texts(key string, most int, mend string) []string {
	raw, given := r.value(key)
	if !given {
		return nil
	}
	list, ok := asList(raw)
	if !ok {
		r.wrongType(key, raw, mend)
		return nil
	}
	if len(list) > most {
		r.add(key, show(raw), fmt.Sprintf("has %d entries", len(list)), fmt.Sprintf("give at most %d", most))
		return nil
	}
	var out []string
	for _, raw := range list {
		if s, ok := asText(raw); ok {
			out = append(out, s)
		} else {
			r.wrongType(key, raw, mend)
		}
	}
	return out
}
