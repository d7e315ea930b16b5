package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestDoctorUnused: on a machine without anything of masq-cni doctor says so, and has no finding.
// A node whose network has masq, and that has had no container, is healthy.
func TestDoctorUnused(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	l := &doctorLab{world: w}
	is := func(when, verdict string) {
		t.Helper()
		r, exit := l.doctor()
		if exit != 0 || len(r.Findings) > 0 || len(r.NotChecked) > 0 || !strings.HasPrefix(r.Verdict, verdict) {
			t.Errorf("%s: exit code %d, %q, findings %+v, not checked %+v", when, exit, r.Verdict, r.Findings, r.NotChecked)
		}
		if n := l.inspected(); !n.Healthy || len(n.Problems) > 0 || !n.StateDirMissing {
			t.Errorf("%s: inspect: %q, state directory missing: %t", when, n.Verdict, n.StateDirMissing)
		}
	}
	const unused = "masq-cni is not in use on this node: "
	is("no configuration", unused)
	for _, dir := range []string{l.confDir(), l.binDir()} {
		assert.NoError(t, os.MkdirAll(dir, 0o755))
	}
	is("empty directories", unused)
	path := filepath.Join(l.confDir(), "10-net.conflist")
	assert.NoError(t, os.WriteFile(path, []byte(`{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge", "ipam": {"type": "host-local"}}]}`), 0o644))
	is("a network without masq", unused)
	assert.NoError(t, os.WriteFile(path, w.conflist("1.1.0", w.masq()).Bytes, 0o644))
	assert.NoError(t, os.WriteFile(filepath.Join(l.binDir(), "masq"), assert.Must(os.ReadFile(built("masq")))(t), 0o755))
	is("a network with masq", "healthy: ")
}
