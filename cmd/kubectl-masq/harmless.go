package main

import (
	"bytes"
	"fmt"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// harmless replaces what a terminal could take for a command, and what would hide or move
// other text, by \uXXXX. masq-cni prints nothing of that kind, but the answer comes from a
// node, which may be hostile. In a string of JSON, or of YAML in double quotes, it means
// the same. Line feeds and tabs stay.
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
