package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// doctorLab is a healthy node with two containers of main mode, and masqd.
type doctorLab struct {
	*world
	pods  []*pod
	masqd *daemon
	conf  keys
	args  []string // more arguments of doctor, such as pod c0
	// target is the server that doctor probes, if args has --to.
	target *nstest.LargeServer
	// wrap, if not nil, returns the command that runs doctor in another environment.
	wrap func(*nstest.Command) *nstest.Command
}

// withoutFixture are checks of faults that the test machine cannot have: its kernel has all
// helpers and features. Unit tests of pkg/doctor check their decisions.
var withoutFixture = map[string]bool{"helper-missing": true, "kernel-feature": true}

// doctorFixture makes one fault.
type doctorFixture struct {
	check string
	// begin changes the lab before masqd and containers, and prepare before doctor runs for the
	// first time.
	begin, prepare func(l *doctorLab)
	// fault makes the fault, and undoes it after the test if it is outside of the lab.
	fault func(l *doctorLab)
	// keys are more keys of masq's configuration.
	keys keys
	// masqdArgs are more flags of masqd. noDaemon: the lab has no masqd.
	masqdArgs []string
	noDaemon  bool
	// args are the arguments of doctor.
	args func(l *doctorLab) []string
	// also are the checks that find consequences of the fault: doctor has their findings after
	// the check's own. perhaps are checks that may find one.
	also, perhaps []report.Kind
}

// doctorFixtures has at least one fixture for each check.
func doctorFixtures() []doctorFixture {
	return slices.Concat(stateFixtures, fileFixtures, networkFixtures, kernelFixtures, tableFixtures, traceFixtures, socketFixtures, probeFixtures)
}

func newDoctorLab(t *testing.T, f doctorFixture) *doctorLab {
	w := newWorld(t, nstest.Uplink{})
	l := &doctorLab{world: w, conf: w.masq().With(f.keys)}
	if f.begin != nil {
		f.begin(l)
	}
	if !f.noDaemon {
		l.masqd = w.daemon(f.masqdArgs...)
	}
	list := w.conflist("1.1.0", l.conf)
	for _, dir := range []string{l.confDir(), l.binDir()} {
		assert.NoError(t, os.MkdirAll(dir, 0o755))
	}
	assert.NoError(t, os.WriteFile(filepath.Join(l.confDir(), "10-net.conflist"), list.Bytes, 0o644))
	assert.NoError(t, os.WriteFile(filepath.Join(l.binDir(), "masq"), assert.Must(os.ReadFile(built("masq")))(t), 0o755))
	for _, p := range w.pods(2) {
		p.attach(list)
		l.pods = append(l.pods, p)
	}
	if f.args != nil {
		l.args = f.args(l)
	}
	if f.prepare != nil {
		f.prepare(l)
	}
	return l
}

func (l *doctorLab) confDir() string { return filepath.Join(l.dir, "net.d") }
func (l *doctorLab) binDir() string  { return filepath.Join(l.dir, "bin") }

// doctor runs masq-cni doctor in the node, and returns its report and exit code.
func (l *doctorLab) doctor(args ...string) (r doctor.Report, exit int) {
	l.t.Helper()
	args = append(append([]string{"doctor"}, args...), "-o", "json", "--conf-dir", l.confDir(), "--bin-dir", l.binDir())
	var stderr bytes.Buffer
	c := l.command(l.Node, args...)
	if l.wrap != nil {
		c = l.wrap(c)
	}
	c.Stderr = &stderr
	out, err := c.Output()
	if err := json.Unmarshal(out, &r); err != nil {
		l.t.Fatalf("%v\n%s%s", err, out, &stderr)
	}
	return r, code(err)
}

// TestDoctorChecks: each check has a fixture. Before the fault doctor has no finding; after it
// doctor has exactly that finding.
func TestDoctorChecks(t *testing.T) {
	all := doctorFixtures()
	for _, c := range doctor.All() {
		if !withoutFixture[c.ID] && !slices.ContainsFunc(all, func(f doctorFixture) bool { return f.check == c.ID }) {
			t.Errorf("check %s has no fixture", c.ID)
		}
	}
	for _, f := range all {
		t.Run(f.check, func(t *testing.T) {
			l := newDoctorLab(t, f)
			if r, exit := l.doctor(l.args...); exit != 0 || len(r.Findings) > 0 || len(r.NotChecked) > 0 {
				t.Fatalf("healthy node: exit code %d, findings %+v, not checked %+v", exit, r.Findings, r.NotChecked)
			}
			f.fault(l)
			r, exit := l.doctor(l.args...)
			if exit != 1 || len(r.Findings) == 0 {
				t.Fatalf("exit code %d, findings %+v, not checked %+v", exit, r.Findings, r.NotChecked)
			}
			for _, kind := range f.also {
				if !slices.ContainsFunc(r.Findings, func(found doctor.Finding) bool { return found.Check == string(kind) }) {
					t.Errorf("no finding %s: %+v", kind, r.Findings)
				}
			}
			for i, found := range r.Findings {
				if found.Check != f.check && (i == 0 || !slices.Contains(slices.Concat(f.also, f.perhaps), report.Kind(found.Check))) {
					t.Errorf("unexpected finding %s: %s %+v", found.Check, found, found.Evidence)
				}
				if len(found.Evidence) == 0 || found.Why == "" || found.Remedy.Text == "" && len(found.Remedy.Commands) == 0 {
					t.Errorf("a part is missing: %+v", found)
				}
			}
		})
	}
}
