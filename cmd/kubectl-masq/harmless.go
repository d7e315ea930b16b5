package main

import (
	"bytes"
	"fmt"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// harmless replaces characters that a terminal could interpret as commands, or that hide or
// move text, by \uXXXX. masq-cni escapes them too, but the answer may come from a hostile
// node. In a string of JSON, or in a quoted string of YAML, the value does not change. Line
// feeds and tabs are kept.
func harmless(text []byte) []byte {
	if bytes.IndexFunc(text, isHarmful) < 0 {
		return text
	}
	var out []byte
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case !isHarmful(r):
			out = append(out, text[:size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		text = text[size:]
	}
	return out
}

// isHarmful reports whether a rune must be escaped. Invalid UTF-8 reads as U+FFFD.
func isHarmful(r rune) bool {
	return r != '\n' && r != '\t' && (r == unicode.ReplacementChar || !unicode.IsPrint(r))
}
