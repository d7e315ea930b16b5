package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestUninstallOfAnotherNamespace runs masq-cni uninstall for the node from another namespace.
func TestUninstallOfAnotherNamespace(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.nft("add table ip other { chain c { accept; }; }")
	before := w.nodeRun("nft", "list", "ruleset")
	list := w.conflist("1.0.0", w.masq())
	a := w.attach("a", list)
	with := w.nodeRun("nft", "list", "ruleset")
	state := filepath.Join(w.dir, "state")
	uninstall := func(flags ...string) string {
		t.Helper()
		args := append([]string{"uninstall", "--state-dir", state}, flags...)
		out, err := w.Server.Command(soon(t), built("masq-cni"), args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}

	// The control: without the flag, it works on the namespace that it runs in.
	if out := uninstall(); out != "nothing to remove\n" {
		t.Errorf("the output is %q", out)
	}
	if after := w.nodeRun("nft", "list", "ruleset"); !sameRules(after, with) {
		t.Errorf("the node has:\n%s", after)
	}
	for _, plan := range w.Plans() {
		w.seenAs(a, plan, plan.Node)
	}

	if out := uninstall("--netns", w.Node.Name(), "--force"); out != "removed: table inet masq, 1 record\n" {
		t.Errorf("the output is %q", out)
	}
	if after := w.nodeRun("nft", "list", "ruleset"); after != before {
		t.Errorf("left:\n%s", after)
	}
	if _, err := os.Stat(state); err == nil {
		t.Error("the state directory is still there")
	}
	for _, plan := range w.Plans() {
		w.seenAs(a, plan, a.addr(plan.Node))
	}
	a.detach()
}

// TestUninstallRefuses: rules that live containers need are not removed, and a state directory
// that does not exist is no reason to remove them.
func TestUninstallRefuses(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	state := filepath.Join(w.dir, "state")
	uninstall := func(args ...string) (string, int) {
		t.Helper()
		out, err := w.Node.Command(soon(t), built("masq-cni"), append([]string{"uninstall"}, args...)...).CombinedOutput()
		return string(out), code(err)
	}
	refuses := func(says string, args ...string) {
		t.Helper()
		before := w.nodeRun("nft", "list", "ruleset")
		if out, exit := uninstall(args...); exit != 1 || !strings.Contains(out, says) || !strings.Contains(out, "--force") {
			t.Errorf("%v: %d\n%s", args, exit, out)
		}
		if after := w.nodeRun("nft", "list", "ruleset"); !sameRules(after, before) {
			t.Errorf("%v has changed the rules:\n%s", args, after)
		}
	}
	refuses(state+" does not exist", "--state-dir", state)
	empty := t.TempDir()
	if out, exit := uninstall("--state-dir", empty); exit != 0 || out != "nothing to remove\n" {
		t.Errorf("%d\n%s", exit, out)
	}

	list := w.conflist("1.0.0", w.masq())
	a, b := w.attach("a", list), w.attach("b", list)
	refuses("2 live attachments depend on table inet masq", "--state-dir", state)
	refuses("2 live attachments depend on table inet masq", "--state-dir", t.TempDir())
	refuses("does not exist", "--state-dir", filepath.Join(t.TempDir(), "typo"))
	for _, plan := range w.Plans() {
		w.seenAs(a, plan, plan.Node)
	}
	// An ended container needs no rules, although DEL was not called.
	assert.NoError(t, b.Close())
	until(t, "the link is deleted", func() bool { _, exit := uninstall("--state-dir", state); return exit == 1 && !w.linkOf(b) })
	refuses("1 live attachment depends on table inet masq", "--state-dir", state)
	assert.NoError(t, a.Close())
	until(t, "the last link is deleted", func() bool { return !w.linkOf(a) })
	if out, exit := uninstall("--state-dir", state); exit != 0 || out != "removed: table inet masq, 2 records\n" {
		t.Errorf("%d\n%s", exit, out)
	}
	if _, err := os.Stat(state); err == nil {
		t.Error("the state directory is still there")
	}
}

// linkOf reports whether the node has the link of a container.
func (w *world) linkOf(p *pod) bool {
	return w.Node.Command(soon(w.t), "ip", "link", "show", "dev", p.host()).Run() == nil
}
