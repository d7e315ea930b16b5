package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
)

// TestDoctorFix: --fix shows what it does and how to undo it, and does it after the answer y.
// The command that it names undoes it.
func TestDoctorFix(t *testing.T) {
	l := newDoctorLab(t, doctorFixture{noDaemon: true})
	exists := func() bool { return l.Node.Command(soon(t), "nft", "list", "table", "inet", "masq").Run() == nil }
	isMissing := func(f doctor.Finding) bool { return f.Check == string(report.KindTableMissing) }
	answer := func(text string, want int) string {
		l.t.Helper()
		c := l.command(l.Node, "doctor", "--fix", "--conf-dir", l.confDir(), "--bin-dir", l.binDir())
		c.Stdin = strings.NewReader(text)
		out, err := c.Output()
		if code(err) != want {
			t.Errorf("answer %q: exit code %d\n%s", text, code(err), out)
		}
		return string(out)
	}
	const undo = "nft delete table inet masq"

	if out := answer("y\n", 0); !strings.Contains(out, "\nno fix: there is no finding\n") {
		t.Errorf("without a fix:\n%s", out)
	}
	l.nft("delete table inet masq")
	for _, text := range []string{"n\n", ""} {
		out := answer(text, 1)
		if !strings.Contains(out, undo+"\n") || !strings.Contains(out, "apply? [y/N] nothing was changed\n") || exists() {
			t.Errorf("answer %q: the table exists: %t\n%s", text, exists(), out)
		}
	}
	if out := answer("y\n", 0); !strings.Contains(out, "\ndone ") || !strings.Contains(out, "\nafter the fixes: healthy: ") || !exists() {
		t.Errorf("answer y: the table exists: %t\n%s", exists(), out)
	}
	for _, p := range l.Plans() {
		l.seenAs(l.pods[0], p, p.Node)
	}

	l.nodeRun("sh", "-c", undo)
	r, exit := l.doctor("--fix", "--yes")
	if exit != 0 || !slices.ContainsFunc(r.Findings, isMissing) || slices.ContainsFunc(r.Remaining, isMissing) {
		t.Errorf("exit code %d, findings %+v, remaining %+v", exit, r.Findings, r.Remaining)
	}
	if f := sole(t, r.Fixes); f.Error != "" || !slices.Equal(f.Undo, []string{undo}) || !exists() {
		t.Errorf("%+v", f)
	}
}

// TestDoctorFixesForwarding: --fix enables forwarding of an uplink without masqd, and the commands
// that it names disable it again.
func TestDoctorFixesForwarding(t *testing.T) {
	l := newDoctorLab(t, doctorFixture{noDaemon: true})
	const key = "net.ipv4.conf.uplink.forwarding"
	assert.NoError(t, l.Node.Sysctl(key, "0"))
	isOff := func(f doctor.Finding) bool { return f.Check == "forwarding-off" }
	r, _ := l.doctor("--fix", "--yes")
	if !slices.ContainsFunc(r.Findings, isOff) || slices.ContainsFunc(r.Remaining, isOff) {
		t.Errorf("findings %+v, remaining %+v", r.Findings, r.Remaining)
	}
	fix := sole(t, r.Fixes)
	if v := assert.Must(l.Node.ReadSysctl(key))(t); v != "1" || fix.Error != "" || len(fix.Undo) == 0 {
		t.Errorf("%s is %s after %+v", key, v, fix)
	}
	for _, undo := range fix.Undo {
		l.nodeRun("sh", "-c", undo)
	}
	if v := assert.Must(l.Node.ReadSysctl(key))(t); v != "0" {
		t.Errorf("%s is %s after %s", key, v, fix.Undo)
	}
}
