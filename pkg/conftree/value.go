package conftree

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Value is a node of the tree.
type Value struct {
	Place
	Kind Kind
	// Text is the text of a scalar: unquoted and unescaped, numbers as written.
	Text string
	// Plain is true for a YAML scalar without quotes, which may be a boolean of YAML 1.1.
	Plain   bool
	Items   []Value  // elements of a list
	Members []Member // keys and values of an object, in the order of the text
	// Raw is the JSON text of the value, nil for YAML.
	Raw []byte
}

// Member is a key of an object and its value.
type Member struct{ Key, Value Value }

// Kind is the type of a value.
type Kind uint8

// The zero Kind is Invalid: a fault of the value has been reported, and readers skip it.
const (
	Invalid Kind = iota
	Null
	Boolean
	Number
	String
	List
	Object
)

// wrongType is the predicate of a message about a value of the wrong type.
func (k Kind) wrongType() string {
	return [...]string{"is not valid", "is not allowed here", "is a boolean", "is a number", "is a string", "is a list", "is an object"}[k]
}

// Member returns the value of a key of an object. If the key is repeated, the last value
// counts, as for encoding/json.
func (v Value) Member(key string) (value Value, given bool) {
	for _, m := range v.Members {
		if m.Key.Text == key {
			value, given = m.Value, true
		}
	}
	return value, given
}

// Bool returns the value of a boolean of JSON or of YAML 1.1, the version that
// ip-masq-agent's library reads (sigs.k8s.io/yaml/goyaml.v2, resolve.go).
func (v Value) Bool() (b, ok bool) {
	if v.Kind == Boolean {
		return strings.EqualFold(v.Text, "true"), true
	}
	if v.Kind != String || !v.Plain {
		return false, false
	}
	switch v.Text {
	case "y", "Y", "yes", "Yes", "YES", "on", "On", "ON":
		return true, true
	case "n", "N", "no", "No", "NO", "off", "Off", "OFF":
		return false, true
	}
	return false, false
}

// Whole returns the value of a whole number in JSON's notation. YAML has other
// notations, such as 010, which is 8 in YAML 1.1 and 10 in YAML 1.2.
func (v Value) Whole() (int, bool) {
	digits := strings.TrimPrefix(v.Text, "-")
	if v.Kind != Number || digits == "" || digits != "0" && digits[0] == '0' {
		return 0, false
	}
	n, err := strconv.Atoi(v.Text)
	return n, err == nil && v.Text[0] != '+'
}

// Show returns the value as a message repeats it: on one line, quoted and shortened.
func (v Value) Show() string {
	switch v.Kind {
	case String:
		return masq.Quote(v.Text)
	case Object, List:
		var b strings.Builder
		v.compact(&b)
		return masq.Quote(b.String())
	case Null:
		return "null"
	default:
		return printable(masq.Clip(v.Text))
	}
}

// compact writes the beginning of a value as JSON on one line.
func (v Value) compact(b *strings.Builder) {
	if b.Len() > masq.MaxQuoted {
		return
	}
	switch v.Kind {
	case Object:
		b.WriteByte('{')
		for i, m := range v.Members {
			if i > 0 {
				b.WriteByte(',')
			}
			m.Key.compact(b)
			b.WriteByte(':')
			m.Value.compact(b)
		}
		b.WriteByte('}')
	case List:
		b.WriteByte('[')
		for i, item := range v.Items {
			if i > 0 {
				b.WriteByte(',')
			}
			item.compact(b)
		}
		b.WriteByte(']')
	default:
		b.WriteString(v.Show())
	}
}

// printable quotes a text that is empty or could control a terminal.
func printable(s string) string {
	if s == "" || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return masq.Quote(s)
	}
	return s
}
