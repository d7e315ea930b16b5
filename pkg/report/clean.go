package report

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes text from outside harmless for a terminal and for a table: what is
// not printable becomes an escape as in Go, a space a "\x20", and invalid UTF-8 its
// bytes. Everything else stays as it is.
func Clean(s string) string {
	if strings.IndexFunc(s, unfit) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		// Quote knows the escapes; one at a time, so that quotes stay.
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == ' ':
			b.WriteString(`\x20`)
		case unfit(r):
			q := strconv.QuoteToASCII(s[:size])
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

// unfit tells what a terminal could take for a command, and what would hide or
// move what is beside it. Invalid UTF-8 reads as U+FFFD.
func unfit(r rune) bool { return r == unicode.ReplacementChar || r == ' ' || !unicode.IsPrint(r) }

// Sentence is Clean for text that may have spaces, such as the reason for an error.
func Sentence(s string) string {
	words := strings.Split(s, " ")
	for i, w := range words {
		words[i] = Clean(w)
	}
	return strings.Join(words, " ")
}

// shellQuote quotes a word so that a shell neither splits nor expands it.
func shellQuote(s string) string {
	if s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("/._-:@%+=", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
