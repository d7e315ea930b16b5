package masq

import (
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
		if got := Quote(text); got != want {
			t.Errorf("Quote(%q) is %s, want %s", text, got, want)
		}
	}
}
