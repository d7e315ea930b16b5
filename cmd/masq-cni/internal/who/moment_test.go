package who

import (
	"strings"
	"testing"
	"time"
)

func TestMoments(t *testing.T) {
	zone := time.FixedZone("here", 2*3600)
	now := time.Date(2026, 3, 31, 16, 0, 0, 0, zone)
	at := func(s string) time.Time {
		x, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	for text, want := range map[string]struct {
		from  string
		lasts time.Duration
	}{
		"2026-03-01T15:04:05Z":      {"2026-03-01T15:04:05Z", time.Second - time.Millisecond},
		"2026-03-01T15:04:05+01:00": {"2026-03-01T14:04:05Z", time.Second - time.Millisecond},
		"2026-03-01T15:04:05.000Z":  {"2026-03-01T15:04:05Z", time.Second - time.Millisecond},
		"2026-03-01 15:04:05":       {"2026-03-01T13:04:05Z", time.Second - time.Millisecond},
		"2026-03-01T15:04:05":       {"2026-03-01T13:04:05Z", time.Second - time.Millisecond},
		"2026-03-01 15:04":          {"2026-03-01T13:04:00Z", time.Minute - time.Millisecond},
		"15:04":                     {"2026-03-31T13:04:00Z", time.Minute - time.Millisecond},
		"15:04:05":                  {"2026-03-31T13:04:05Z", time.Second - time.Millisecond},
		"10m":                       {"2026-03-31T13:50:00Z", time.Second},
		"0s":                        {"2026-03-31T14:00:00Z", time.Second},
		"now":                       {"2026-03-31T14:00:00Z", time.Second},
		"2026-03-01T15:04":          {"2026-03-01T13:04:00Z", time.Minute - time.Millisecond},
		"2026-03-01":                {"2026-02-28T22:00:00Z", 24*time.Hour - time.Millisecond},
		"1772377445":                {"2026-03-01T15:04:05Z", time.Second - time.Millisecond},
		"@1772377445":               {"2026-03-01T15:04:05Z", time.Second - time.Millisecond},
		"1772377445000":             {"2026-03-01T15:04:05Z", time.Millisecond},
	} {
		from, until, err := parseMoment(text, now)
		if err != nil || !from.Equal(at(want.from)) || until.Sub(from) != want.lasts {
			t.Errorf("%s: %s to %s, %v", text, from, until, err)
		}
	}
	for _, text := range []string{"", "yesterday", "-10m", "25:04", "2026-02-30 15:04", "2026-02-30", "15", "@15", "-1772377445", "17723774450", "Now"} {
		if from, _, err := parseMoment(text, now); err == nil || !strings.Contains(err.Error(), "--at: ") {
			t.Errorf("%q is %s, %v", text, from, err)
		}
	}
}
