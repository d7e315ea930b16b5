package cniconf

import (
	"encoding/json"
	"strings"
	"testing"
)

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
