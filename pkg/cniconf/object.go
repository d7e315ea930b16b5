package cniconf

import (
	"bytes"
	"encoding/json"
)

// object is a JSON object that remembers the order of its keys and which of
// them came twice; encoding/json takes the last one silently.
type object struct {
	keys   []string // in the order given, each once
	values map[string]json.RawMessage
	again  []repetition
}

// repetition is a key that came again, with the value that it replaced.
type repetition struct {
	key    string
	first  json.RawMessage
	second json.RawMessage
}

// asObject splits a JSON object. The text has to be valid JSON.
func asObject(raw json.RawMessage) (object, bool) {
	o := object{values: map[string]json.RawMessage{}}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return object{}, false
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return object{}, false
		}
		key, ok := t.(string)
		if !ok {
			return object{}, false
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return object{}, false
		}
		if first, given := o.values[key]; given {
			o.again = append(o.again, repetition{key, first, value})
		} else {
			o.keys = append(o.keys, key)
		}
		o.values[key] = value
	}
	return o, true
}
