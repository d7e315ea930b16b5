package bytesize

import (
	"strings"
	"testing"
)

func TestSize(t *testing.T) {
	for text, want := range map[string]struct {
		n    int64
		text string
	}{
		"0": {0, "0"}, "1": {1, "1"}, "1024": {1024, "1Ki"}, "1073741824": {1 << 30, "1Gi"}, "10737418240": {10 << 30, "10Gi"},
		"1Gi": {1 << 30, "1Gi"}, "1.5Gi": {3 << 29, "1536Mi"}, "500Mi": {500 << 20, "500Mi"}, "1G": {1e9, "1000000000"},
		"1.5k": {1500, "1500"}, "2T": {2e12, "1953125000Ki"}, "1Pi": {1 << 50, "1Pi"}, "0.0001Ki": {0, "0"}, "9223372036854775807": {1<<63 - 1, "9223372036854775807"},
	} {
		var s Size
		if err := s.Set(text); err != nil || int64(s) != want.n || s.String() != want.text {
			t.Errorf("%s: %d %s, %v", text, s, &s, err)
		}
		// The help text prints the default, which users paste.
		var again Size
		if err := again.Set(s.String()); err != nil || again != s {
			t.Errorf("%s is printed as %s and read as %d, %v", text, &s, again, err)
		}
	}
	for _, text := range []string{"", "Gi", "1g", "1GB", "1GiB", "-1", "-1Gi", "1e9", "0x10", "1_000", "1/2", "1..2Gi", ".", "one", "1 Gi", "\x1b[2J"} {
		s := Size(7)
		if err := s.Set(text); err == nil || !strings.Contains(err.Error(), "is not a size") || strings.Contains(err.Error(), "\x1b") || s != 7 {
			t.Errorf("%q: %d, %v", text, s, err)
		}
	}
	for _, text := range []string{"9223372036854775808", "8192Pi", "9999999999999999999P"} {
		var s Size
		if err := s.Set(text); err == nil || !strings.Contains(err.Error(), "is more than") {
			t.Errorf("%q: %d, %v", text, s, err)
		}
	}
}
