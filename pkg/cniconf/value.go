package cniconf

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// show is a JSON value as a message repeats it.
func show(raw json.RawMessage) string {
	switch kindOf(raw) {
	case isString:
		s, _ := asText(raw)
		return masq.Quote(s)
	case isObject, isList:
		var b bytes.Buffer
		if err := json.Compact(&b, raw); err != nil {
			return masq.Quote(string(raw))
		}
		return masq.Quote(b.String())
	default: // a number, true, false or null: letters, digits and signs
		return masq.Clip(string(raw))
	}
}

// kind is the type of a JSON value, worded as what is wrong with it.
type kind string

const (
	isString  kind = "is a string"
	isObject  kind = "is an object"
	isList    kind = "is a list"
	isBoolean kind = "is a boolean"
	isNull    kind = "is null"
	isNumber  kind = "is a number"
)

// kindOf tells the type of a JSON value by its first byte.
func kindOf(raw json.RawMessage) kind {
	switch raw[0] {
	case '"':
		return isString
	case '{':
		return isObject
	case '[':
		return isList
	case 't', 'f':
		return isBoolean
	case 'n':
		return isNull
	default:
		return isNumber
	}
}

func asText(raw json.RawMessage) (string, bool) {
	var s string
	ok := kindOf(raw) == isString && json.Unmarshal(raw, &s) == nil
	return s, ok
}

func asList(raw json.RawMessage) ([]json.RawMessage, bool) {
	var l []json.RawMessage
	ok := kindOf(raw) == isList && json.Unmarshal(raw, &l) == nil
	return l, ok
}

// asWhole reads a whole number. 1500.0 and 1.5e3 are none, as encoding/json has
// it for integers.
func asWhole(raw json.RawMessage) (int, bool) {
	n, err := strconv.Atoi(string(raw))
	return n, err == nil
}
