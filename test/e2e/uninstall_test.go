package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestUninstallOfAnotherNamespace has masq-cni work on the node from outside.
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

	// The control: without the flag, it is about the namespace that it runs in.
	if out := uninstall(); out != "removed: table inet masq, 0 records\n" {
		t.Errorf("it says %q", out)
	}
	if after := w.nodeRun("nft", "list", "ruleset"); !sameRules(after, with) {
		t.Errorf("the node has:\n%s", after)
	}
	for _, plan := range w.Plans() {
		w.seenAs(a, plan, plan.Node)
	}

	if out := uninstall("--netns", w.Node.Name()); out != "removed: table inet masq, 1 records\n" {
		t.Errorf("it says %q", out)
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
