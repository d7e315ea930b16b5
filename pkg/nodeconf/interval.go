package nodeconf

import (
	"fmt"
	"time"
)

const (
	// shortestInterval bounds resyncInterval: each look reads the whole table.
	// ip-masq-agent takes what it is given, and spins with "0s".
	shortestInterval = 100 * time.Millisecond

	intervalMend = "give a duration such as \"60s\""
)

// resyncInterval reads a duration. A number is refused, as there.
func (r *reader) resyncInterval(k key, v value) {
	if v.kind != isString {
		mend := intervalMend
		if n, ok := v.whole(); ok && n > 0 {
			mend = fmt.Sprintf("write \"%ds\" if these are seconds", n)
		}
		r.wrongType(k.name, v, mend)
		return
	}
	d, wrong := parseInterval(v.text)
	if wrong != "" {
		r.fault(v.place, k.name, v.show(), wrong, intervalMend)
		return
	}
	r.s.resync = append(r.s.resync, found[time.Duration]{v.place, d, v.show()})
}

// sooner lets the shorter of two intervals count: whoever asked for the longer
// one has what they asked for.
func sooner(a, b time.Duration) bool { return a < b }

func parseInterval(s string) (d time.Duration, wrong string) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, "is not a duration"
	}
	if d < shortestInterval {
		return 0, fmt.Sprintf("is shorter than %v", shortestInterval)
	}
	return d, ""
}
