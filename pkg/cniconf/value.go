package cniconf

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// shown is how many bytes of a text from outside a message repeats.
const shown = 120

// clip cuts a text to what a message can hold.
func clip(s string) string {
	if len(s) <= shown {
		return s
	}
	n := shown
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

// quote makes text from outside harmless: one line, no terminal escapes.
func quote(s string) string { return strconv.Quote(clip(s)) }

// show is a JSON value as a message repeats it.
func show(raw json.RawMessage) string {
	switch kindOf(raw) {
	case isString:
		s, _ := asText(raw)
		return quote(s)
	case isObject, isList:
		var b bytes.Buffer
		if err := json.Compact(&b, raw); err != nil {
			return quote(string(raw))
		}
		return quote(b.String())
	default: // a number, true, false or null: letters, digits and signs
		return clip(string(raw))
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
