package cniconf

import (
	"errors"
	"slices"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// reader reads a configuration key by key and collects faults, so that one fault does
// not hide the others.
type reader struct {
	conftree.Reader
	top         conftree.Value
	args        conftree.Reader // faults of CNI_ARGS
	unsupported conftree.Reader // the fault that cniVersion is not supported
}

// newReader decodes stdin. An error is a *types.Error.
func newReader(stdin []byte) (*reader, error) {
	r := &reader{}
	undecodable := func(at conftree.Place, value, wrong string) (*reader, error) {
		r.Fault(at, "stdin", value, wrong, "give one JSON object")
		return nil, faultsError(types.ErrDecodingFailure, "the configuration cannot be decoded", r.Faults())
	}
	top, err := conftree.ParseJSON("", stdin)
	if syntax, ok := errors.AsType[*conftree.SyntaxError](err); ok {
		return undecodable(syntax.Place, masq.Quote(string(stdin)), "is not valid JSON: "+masq.Clip(syntax.Err.Error()))
	}
	if top.Kind != conftree.Object {
		return undecodable(top.Place, top.Show(), "is not an object")
	}
	r.top = top
	return r, nil
}

// unknownKeys adds a fault for each key that is neither ours nor CNI's.
func (r *reader) unknownKeys() {
	for _, m := range r.top.Members {
		if key := m.Key.Text; !isKnown(key) {
			r.Fault(m.Key.Place, masq.Quote(key), "", "is an unknown key", masq.UnknownKey(key, knownKeys))
		}
	}
}

// repeatedKeys adds a fault for each of the keys that is given twice. Without arguments it
// checks all keys.
func (r *reader) repeatedKeys(keys ...string) {
	r.CheckRepeatedKeys(r.top, func(key string) string {
		switch {
		case len(keys) > 0 && !slices.Contains(keys, key):
			return ""
		case !slices.Contains(knownKeys, key):
			return masq.Quote(key)
		}
		return key
	})
}

// value returns the value of a key. A key that CNI defines counts as absent if it is null.
func (r *reader) value(key string) (conftree.Value, bool) {
	v, given := r.top.Member(key)
	if v.Kind == conftree.Null && !slices.Contains(ourKeys, key) {
		return conftree.Value{}, false
	}
	return v, given
}

func (r *reader) boolean(key string, byDefault bool) bool {
	v, given := r.value(key)
	if !given {
		return byDefault
	}
	if b, ok := r.Boolean(key, v); ok {
		return b
	}
	return byDefault
}

// text returns the string at a key, and whether there is one.
func (r *reader) text(key, remedy string) (s string, place conftree.Place, ok bool) {
	v, given := r.value(key)
	if !given {
		return "", v.Place, false
	}
	s, ok = r.Text(key, v, remedy)
	return s, v.Place, ok
}
