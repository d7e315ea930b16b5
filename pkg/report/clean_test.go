package report

import (
	"strings"
	"testing"
)

// TestClean: unsafe characters are escaped, and all others are unchanged.
func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"web-1.shop_x":  "web-1.shop_x",
		"größe/日本":      "größe/日本",
		"a b":           `a\x20b`,
		"\x1b[31mred":   `\x1b[31mred`,
		"\u009b31m":     `\u009b31m`,
		"\u202eevil":    `\u202eevil`,
		"a\tb\nc\r":     `a\tb\nc\r`,
		"\xff\xfe":      `\xff\xfe`,
		`say "hi"`:      `say\x20"hi"`,
		"\u200b\u00a0x": `\u200b\u00a0x`,
		"":              "",
	} {
		if got := Clean(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	if got := CleanText("a b\x1b c"); got != `a b\x1b c` {
		t.Error(got)
	}
	if n := testing.AllocsPerRun(10, func() { Clean("shop/web-1") }); n != 0 {
		t.Errorf("%.0f allocations for a name without escapes", n)
	}
	if strings.ContainsAny(Clean(hostile), " \t\n") {
		t.Error("a cleaned name has white space")
	}
}
