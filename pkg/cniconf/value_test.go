package cniconf

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestQuote(t *testing.T) {
	a := strings.Repeat("a", 119)
	for text, want := range map[string]string{
		"":                          `""`,
		"a\n\x1b\"":                 `"a\n\x1b\""`,
		a + "b":                     `"` + a + `b"`,
		a + "bc":                    `"` + a + `b..."`,
		a + "ü":                     `"` + a + `..."`, // not half a letter
		strings.Repeat("\xbf", 200): `"..."`,
	} {
		if got := quote(text); got != want {
			t.Errorf("quote(%q) is %s, want %s", text, got, want)
		}
	}
}

func TestShow(t *testing.T) {
	for raw, want := range map[string]string{
		`"a\u001b"`:              `"a\x1b"`,
		"{ \"a\" :\n[ 1 ] }":     `"{\"a\":[1]}"`,
		"[ ]":                    `"[]"`,
		"null":                   "null",
		"true":                   "true",
		"-1.5e3":                 "-1.5e3",
		strings.Repeat("1", 121): strings.Repeat("1", 120) + "...",
	} {
		if got := show(json.RawMessage(raw)); got != want {
			t.Errorf("show(%s) is %s, want %s", raw, got, want)
		}
	}
}
