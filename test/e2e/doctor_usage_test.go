package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/doctor"
)

// TestDoctorUsage: arguments that doctor cannot use are errors with exit code 2, and without --to
// no check of a probe is made.
func TestDoctorUsage(t *testing.T) {
	l := newDoctorLab(t, doctorFixture{})
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"pod", ""}, `no attachment belongs to pod or container ""`}, // an unset variable of a script
		{[]string{"pod", "shop/none"}, `no attachment belongs to pod or container "shop/none"`},
		{[]string{"--yes"}, "--yes has no effect without --fix"},
		{[]string{"--html", "/proc/none/page.html"}, "--html: open /proc/none/page.html"},
		{[]string{"--to", "198.51.100.2"}, "it has no port"},
	} {
		out, err := l.command(l.Node, append([]string{"doctor"}, c.args...)...).CombinedOutput()
		if code(err) != 2 || !strings.Contains(string(out), c.want) {
			t.Errorf("%q: exit code %d, %s", c.args, code(err), out)
		}
	}
	r, exit := l.doctor()
	if exit != 0 || len(r.Checks) == 0 {
		t.Errorf("exit code %d, %+v", exit, r)
	}
	for _, c := range doctor.All() {
		if made := slices.Contains(r.Checks, c.ID); made != (c.Cost != doctor.Probe) {
			t.Errorf("check %s: made %t", c.ID, made)
		}
	}
}
