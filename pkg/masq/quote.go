package masq

import (
	"strconv"
	"unicode/utf8"
)

// MaxQuoted is the number of bytes of a text from outside that a message quotes.
const MaxQuoted = 120

// Clip shortens a text to MaxQuoted bytes, at the start of a character.
func Clip(s string) string {
	if len(s) <= MaxQuoted {
		return s
	}
	n := MaxQuoted
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

// Quote returns a text from outside for a message: shortened, on one line, and without
// terminal escapes.
func Quote(s string) string { return strconv.Quote(Clip(s)) }
