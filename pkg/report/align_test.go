package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/clipperhouse/displaywidth"
)

// TestColumnsOfWideNames checks that the second column begins at the same cell, whether
// the characters before it fill two cells, one or none.
func TestColumnsOfWideNames(t *testing.T) {
	names := []string{"web", "商店/網頁", "한국어", "cafe\u0301", "n\u0303n\u0303", "カフェ", "e\u0301\u0323"}
	columns := []Column[string]{
		{Name: "NAME", Cell: func(s *string) string { return Clean(*s) }},
		{Name: "NEXT", Cell: func(*string) string { return "|" }},
	}
	var b bytes.Buffer
	if err := writeTable(&b, Style{}, columns, names); err != nil {
		t.Fatal(err)
	}
	var f facts
	for _, name := range names {
		f.add(name, "|")
	}
	if err := f.write(&b); err != nil {
		t.Fatal(err)
	}
	const want = 9 + columnGap // 商店/網頁 fills 9 cells
	for line := range strings.Lines(b.String()) {
		if before, _, found := strings.Cut(line, "|"); found && displaywidth.String(before) != want {
			t.Errorf("the second column begins at cell %d, want %d: %q", displaywidth.String(before), want, line)
		}
	}
	if n := strings.Count(b.String(), "|"); n != 2*len(names) {
		t.Errorf("%d lines, want %d:\n%s", n, 2*len(names), b.String())
	}
}
