package nodeconf

import (
	"fmt"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conftree"
)

const (
	// minInterval is the minimum of resyncInterval. ip-masq-agent has none, and with
	// "0s" it never sleeps.
	minInterval = 100 * time.Millisecond

	intervalRemedy = "give a duration such as \"60s\""
)

// resyncInterval reads a duration. A number is refused, as by ip-masq-agent.
func (r *reader) resyncInterval(k key, v conftree.Value) {
	if v.Kind != conftree.String {
		remedy := intervalRemedy
		if n, ok := v.Whole(); ok && n > 0 {
			remedy = fmt.Sprintf("write \"%ds\" if these are seconds", n)
		}
		r.WrongType(k.name, v, remedy)
		return
	}
	d, wrong := parseInterval(v.Text)
	if wrong != "" {
		r.Fault(v.Place, k.name, v.Show(), wrong, intervalRemedy)
		return
	}
	r.s.resync = append(r.s.resync, conftree.Found[time.Duration]{Place: v.Place, Value: d, Shown: v.Show()})
}

func parseInterval(s string) (d time.Duration, wrong string) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, "is not a duration"
	}
	if d < minInterval {
		return 0, fmt.Sprintf("is shorter than %v", minInterval)
	}
	return d, ""
}
