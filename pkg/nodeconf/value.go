package nodeconf

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// value is what stands in a file, of YAML or of JSON alike.
type value struct {
	place
	kind kind
	// text is a scalar's: unquoted and unescaped, numbers as they are written.
	text string
	// plain is a scalar of YAML without quotes, which can mean more than its
	// letters say.
	plain   bool
	items   []value
	members []member
}

type member struct{ key, value value }

// kind is the type of a value, worded as what is wrong with it.
type kind string

const (
	isString  kind = "is a string"
	isObject  kind = "is an object"
	isList    kind = "is a list"
	isBoolean kind = "is a boolean"
	isNull    kind = "is null"
	isNumber  kind = "is a number"
	// isUnread was found faulty already.
	isUnread kind = ""
)

// whole reads a whole number as JSON writes it. YAML has more ways, of which 010
// is eight to some programs and ten to others.
func (v value) whole() (int, bool) {
	digits := strings.TrimPrefix(v.text, "-")
	if v.kind != isNumber || digits == "" || digits != "0" && digits[0] == '0' {
		return 0, false
	}
	n, err := strconv.Atoi(v.text)
	return n, err == nil && v.text[0] != '+'
}

// show is a value as a message repeats it.
func (v value) show() string {
	switch v.kind {
	case isString:
		return masq.Quote(v.text)
	case isObject, isList:
		var b strings.Builder
		v.compact(&b)
		return masq.Quote(b.String())
	case isNull:
		return "null"
	default:
		return printable(masq.Clip(v.text))
	}
}

// compact writes a value as JSON on one line, as far as a message repeats it.
func (v value) compact(b *strings.Builder) {
	if b.Len() > masq.Shown {
		return
	}
	switch v.kind {
	case isObject:
		b.WriteByte('{')
		for i, m := range v.members {
			if i > 0 {
				b.WriteByte(',')
			}
			m.key.compact(b)
			b.WriteByte(':')
			m.value.compact(b)
		}
		b.WriteByte('}')
	case isList:
		b.WriteByte('[')
		for i, item := range v.items {
			if i > 0 {
				b.WriteByte(',')
			}
			item.compact(b)
		}
		b.WriteByte(']')
	default:
		b.WriteString(v.show())
	}
}

// printable quotes a text only where it is not harmless.
func printable(s string) string {
	if s == "" || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return masq.Quote(s)
	}
	return s
}
