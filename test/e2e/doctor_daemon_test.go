package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestDaemonFindings: a fault that masqd does not repair appears in the metrics and as one
// line of the log, and disappears when it is repaired.
func TestDaemonFindings(t *testing.T) {
	const check = "no-default-route"
	w := newWorld(t, nstest.Uplink{})
	w.attach("a", w.conflist("1.1.0", w.masq()))
	d := w.daemon("--doctor-interval", "1s")
	has := func(n int) {
		t.Helper()
		until(t, fmt.Sprintf("masqd has %d findings", n), func() bool {
			return d.metric(fmt.Sprintf("masq_doctor_findings{check=%q,severity=\"error\"}", check)) == fmt.Sprint(n)
		})
	}
	said := func(message string, words ...string) (n int) {
		for line := range strings.Lines(d.said()) {
			found := strings.Contains(line, fmt.Sprintf("msg=%q", message))
			for _, s := range words {
				found = found && strings.Contains(line, s)
			}
			if found {
				n++
			}
		}
		return n
	}
	const appeared, gone = "doctor found a fault", "a fault that doctor found is gone"
	has(0)
	w.nodeRun("ip", "-4", "route", "del", "default")
	has(1)
	// Two more runs, which find the same.
	for range 2 {
		before := d.metric("masq_doctor_last_check_timestamp_seconds")
		until(t, "the checks run again", func() bool { return d.metric("masq_doctor_last_check_timestamp_seconds") != before })
	}
	if n := said(appeared, "check="+check, "remedy="); n != 1 || said(appeared) != 1 || said(gone) != 0 {
		t.Errorf("the fault has %d lines in\n%s", n, d.said())
	}
	w.nodeRun("ip", "route", "add", "default", "via", w.V4.Router.String())
	has(0)
	if n := said(gone, "check="+check); n != 1 || said(appeared) != 1 {
		t.Errorf("the end of the fault has %d lines in\n%s", n, d.said())
	}
	d.end()
}
