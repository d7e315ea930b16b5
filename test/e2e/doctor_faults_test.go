package e2e

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
)

// commonFaults are faults that leave a container without its connections, and the check that
// names each. fixture makes the fault; nil: the fixture of the check.
var commonFaults = []struct {
	fault, check string
	fixture      *doctorFixture
}{
	{fault: "forwarding is off", check: "forwarding-off"},
	{fault: "a chain of another table drops", check: string(report.KindFirewall)},
	{fault: "a rule of another table drops", check: "connections-dropped"},
	{fault: "the source ports are used up", check: string(report.KindPortsScarce), fixture: &doctorFixture{
		keys: keys{"toPorts": "20000-20003"},
		fault: func(l *doctorLab) {
			server := l.openFlows(4)
			if l.gauge(l.t).opens(l.t, l.pods[0], "udp", server) {
				l.t.Error("a fifth flow had a port")
			}
		},
	}},
	{fault: "FTP on a second port", check: "helper-port"},
	{fault: "a narrow link beyond the node", check: "path-mtu-black-hole"},
	{fault: "the plugin is missing", check: "plugin-missing"},
	{fault: "a record is unreadable", check: string(report.KindRecordUnread)},
	{fault: "the rules were deleted, masqd is stopped", check: string(report.KindTableMissing)},
	{fault: "the rules were deleted, without masqd", check: string(report.KindTableMissing), fixture: &doctorFixture{
		fault: func(l *doctorLab) {
			l.masqd.end()
			l.nft("delete table inet masq")
		},
	}},
	{fault: "two containers have one address", check: string(report.KindClaimedTwice)},
	{fault: "a container has a wrong default route", check: string(report.KindLinkDrift), fixture: &doctorFixture{
		fault: func(l *doctorLab) {
			assert.NoError(l.t, l.pods[0].Command(soon(l.t), "ip", "route", "replace", "default", "via", "10.88.0.99", "dev", "eth0", "onlink").Run())
		},
	}},
	{fault: "a container of another plugin has no default route", check: "container-default-route"},
	{fault: "DNS is not answered", check: "dns-unanswered"},
	{fault: "a container sends packets with other sources", check: string(report.KindSpoofed)},
	{fault: "an annotation is refused", check: string(report.KindAnnotation)},
	{fault: "the conntrack table is nearly full", check: string(report.KindConntrackFull)},
}

// inspected returns the summary that masq-cni inspect shows.
func (l *doctorLab) inspected() (n report.Node) {
	l.t.Helper()
	var stderr bytes.Buffer
	c := l.command(l.Node, "inspect", "-o", "json", "--conf-dir", l.confDir(), "--bin-dir", l.binDir())
	c.Stderr = &stderr
	out, _ := c.Output() // the exit code follows from the problems
	if err := json.Unmarshal(out, &n); err != nil {
		l.t.Fatalf("%v\n%s%s", err, out, &stderr)
	}
	return n
}

// TestDoctorCommonFaults: for each fault the first finding of doctor, and the verdict of inspect,
// name it.
func TestDoctorCommonFaults(t *testing.T) {
	for _, x := range commonFaults {
		t.Run(x.fault, func(t *testing.T) {
			f := x.fixture
			if f == nil {
				all := doctorFixtures()
				i := slices.IndexFunc(all, func(f doctorFixture) bool { return f.check == x.check })
				if i < 0 {
					t.Fatalf("check %s has no fixture", x.check)
				}
				f = &all[i]
			}
			l := newDoctorLab(t, *f)
			if n := l.inspected(); len(n.Problems) > 0 {
				t.Fatalf("healthy node: %s", n.Verdict)
			}
			f.fault(l)
			r, _ := l.doctor(l.args...)
			if len(r.Findings) == 0 || r.Findings[0].Check != x.check || !strings.Contains(r.Verdict, r.Findings[0].String()) {
				t.Errorf("doctor: %s, %+v", r.Verdict, r.NotChecked)
			}
			n := l.inspected()
			if len(n.Problems) == 0 || string(n.Problems[0].Kind) != x.check || !strings.Contains(n.Verdict, n.Problems[0].String()) {
				t.Errorf("inspect: %s, %+v", n.Verdict, n.Notes)
			}
			t.Log(n.Verdict)
		})
	}
}
