package nodeconf

import (
	"testing"
	"time"
)

func TestResyncInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"60s": time.Minute, `"1m0s"`: time.Minute, "1h30m": 90 * time.Minute, "100ms": 100 * time.Millisecond, "1.5s": 1500 * time.Millisecond,
	} {
		if got := load(t, "resyncInterval: "+text).ResyncInterval; got != want {
			t.Errorf("%s: got %v", text, got)
		}
	}
	const remedy = `; give a duration such as "60s"`
	checkFaults(t, []faulty{
		{"number", "resyncInterval: 60", `f:1:17: resyncInterval: 60 is a number; write "60s" if these are seconds`},
		{"float", "resyncInterval: 0.5", "f:1:17: resyncInterval: 0.5 is a number" + remedy},
		{"digits", `resyncInterval: "60"`, `f:1:17: resyncInterval: "60" is not a duration` + remedy},
		{"minutes and seconds", "resyncInterval: 1:30", `f:1:17: resyncInterval: "1:30" is not a duration` + remedy},
		{"null", "resyncInterval:", "f:1:16: resyncInterval: null is not allowed here" + remedy},
		{"zero", "resyncInterval: 0s", `f:1:17: resyncInterval: "0s" is shorter than 100ms` + remedy},
		{"negative", "resyncInterval: -5s", `f:1:17: resyncInterval: "-5s" is shorter than 100ms` + remedy},
		{"endless", "resyncInterval: 9999999999h", `f:1:17: resyncInterval: "9999999999h" is not a duration` + remedy},
	})
}
