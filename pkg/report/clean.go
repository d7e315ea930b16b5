package report

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean escapes untrusted text for a terminal and a table: unprintable characters, spaces and
// bytes that are not UTF-8 become escapes as in Go. Other characters are unchanged.
func Clean(s string) string {
	if strings.IndexFunc(s, isUnsafe) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		// One character at a time, since QuoteToASCII would also escape quotes.
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == ' ':
			b.WriteString(`\x20`)
		case isUnsafe(r):
			q := strconv.QuoteToASCII(s[:size])
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

// isUnsafe reports whether a terminal may interpret a character as a command, or show it at
// another place. Invalid UTF-8 is decoded as U+FFFD.
func isUnsafe(r rune) bool { return r == unicode.ReplacementChar || r == ' ' || !unicode.IsPrint(r) }

// CleanText is Clean for text with spaces, such as an error message.
func CleanText(s string) string {
	words := strings.Split(s, " ")
	for i, w := range words {
		words[i] = Clean(w)
	}
	return strings.Join(words, " ")
}

// ShellQuote quotes a word so that a shell neither splits nor expands it.
func ShellQuote(s string) string {
	if s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("/._-:@%+=", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
