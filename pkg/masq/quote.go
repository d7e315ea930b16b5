package masq

import (
	"strconv"
	"unicode/utf8"
)

// MaxQuoted is how many bytes of a text from outside a message repeats.
const MaxQuoted = 120

// Clip cuts a text to what a message can hold.
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

// Quote makes text from outside harmless: cut to size, one line, no terminal
// escapes.
func Quote(s string) string { return strconv.Quote(Clip(s)) }
