package e2e

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// glance returns masq-cni inspect's JSON output and exit code.
func (w *world) glance(flags ...string) (n report.Node, exit int) {
	w.t.Helper()
	var stderr bytes.Buffer
	c := w.command(w.Node, append(flags, "inspect", "-o", "json")...)
	c.Stderr = &stderr
	out, err := c.Output()
	if err := json.Unmarshal(out, &n); err != nil {
		w.t.Fatalf("%v\n%s%s", err, out, &stderr)
	}
	return n, code(err)
}

// health returns masq-cni inspect's output for programs and for people, and its exit code.
func (w *world) health(flags ...string) (n report.Node, text string, exit int) {
	w.t.Helper()
	n, exit = w.glance(flags...)
	person, err := w.command(w.Node, append(flags, "inspect")...).Output()
	if again := code(err); again != exit {
		w.t.Errorf("exit code %d for a person, %d for a program", again, exit)
	}
	return n, string(person), exit
}

// isUnhealthy checks that a problem of this kind is in the list for programs and, before the
// figures, in the output for people, whose first line is the verdict. It returns the problem.
func (w *world) isUnhealthy(kind report.Kind, flags ...string) report.Problem {
	w.t.Helper()
	n, text, exit := w.health(flags...)
	verdict, rest, _ := strings.Cut(text, "\n")
	for _, p := range n.Problems {
		if p.Kind != kind {
			continue
		}
		if exit != 1 || n.Healthy || verdict != n.Verdict || strings.HasPrefix(verdict, "healthy") {
			w.t.Errorf("exit code %d, healthy %t, verdict %q", exit, n.Healthy, verdict)
		}
		words := strings.Join(strings.Fields(rest), " ")
		at, figures := strings.Index(words, p.Message), strings.Index(words, "attachments 1")
		if at < 0 || at > figures || !strings.Contains(words, "remedy "+p.Remedy) {
			w.t.Errorf("the output for people lacks the problem or its remedy before the figures:\n%s", text)
		}
		return p
	}
	w.t.Fatalf("%s is not among the problems %+v", kind, n.Problems)
	return report.Problem{}
}

func (w *world) isHealthy() {
	w.t.Helper()
	if n, text, exit := w.health(); exit != 0 || !n.Healthy || len(n.Problems) != 0 || !strings.HasPrefix(text, "healthy\n") {
		w.t.Errorf("exit code %d\n%s", exit, text)
	}
}

// TestInspectHealth: the first line is the verdict, and each problem of the node follows it.
func TestInspectHealth(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.attachNamed("shop", "web", w.masq().With(keys{"mssClamp": nil}))
	file := w.writeConfig("toPorts: 20000-29999\n")
	masqd := w.daemon("--config", file)
	w.isHealthy()

	// A configuration that is invalid.
	w.writeConfig("toPorts: 5-4\n")
	until(t, "the fault is reported", func() bool { n, _ := w.glance(); return n.Daemon.ConfigurationFault != "" })
	if p := w.isUnhealthy(report.KindConfiguration); !strings.Contains(p.Message, "toPorts") || !strings.Contains(p.Remedy, "masq-cni config check "+file) {
		t.Errorf("%+v", p)
	}
	w.writeConfig("toPorts: 20000-29999\n")
	until(t, "the fault is over", func() bool { n, _ := w.glance(); return len(n.Problems) == 0 })
	w.isHealthy()

	// A masqd that holds its lock and is stopped.
	assert.NoError(t, masqd.Suspend())
	until(t, "masqd is stopped", func() bool { n, _ := w.glance(); return n.Daemon.Stopped })
	if p := w.isUnhealthy(report.KindDaemonStopped); !strings.HasPrefix(p.Remedy, "kill -CONT ") {
		t.Errorf("%+v", p)
	}
	// A container cannot see masqd's process, but it notices that masqd does not answer.
	out, err := w.Node.Command(soon(t), "unshare", "--pid", "--fork", "--mount-proc", built("masq-cni"), "--state-dir", filepath.Join(w.dir, "state"), "inspect", "-o", "json").Output()
	var n report.Node
	assert.NoError(t, json.Unmarshal(out, &n))
	if code(err) != 1 || !strings.Contains(n.Daemon.NotReady, "does not answer") || n.Problems[0].Kind != report.KindDaemonNotReady {
		t.Errorf("%v: %+v", err, n.Problems)
	}

	// The table is missing while masqd is stopped.
	w.nft("delete table inet masq")
	if p := w.isUnhealthy(report.KindTableMissing); !strings.Contains(p.Message, "1 attachment") {
		t.Errorf("%+v", p)
	}
	assert.NoError(t, masqd.Resume())
	until(t, "masqd has repaired it", func() bool { n, _ := w.glance(); return len(n.Problems) == 0 })
	w.isHealthy()
}

// TestInspectWrongStateDir: rules without records belong to another state directory.
func TestInspectWrongStateDir(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.attachNamed("shop", "web", w.masq())
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "missing")} {
		n, text, exit := w.health("--state-dir", dir)
		if exit != 1 || n.Problems[0].Kind != report.KindStateMissing || n.Problems[0].Object != dir || !strings.Contains(n.Verdict, "the rules of 1 attachment") {
			t.Errorf("exit code %d\n%s", exit, text)
		}
	}
}
