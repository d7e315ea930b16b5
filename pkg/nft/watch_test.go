package nft

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// received runs a Watcher whose transactions next returns. It skips transactions that are
// not about the table.
func received(t *testing.T, c *Conn) (next func(what string) Transaction, stop func() error) {
	t.Helper()
	w, err := c.Watch()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	events := make(chan Transaction, 1000)
	ended := make(chan error, 1)
	go func() {
		ended <- w.Run(ctx, func(x Transaction, lost bool) {
			if lost {
				t.Error("notifications were lost")
			}
			events <- x
		})
	}()
	last := uint32(0)
	next = func(what string) Transaction {
		t.Helper()
		for {
			select {
			case x := <-events:
				if last != 0 && x.Generation != last+1 {
					t.Errorf("%s: generation %d follows %d", what, x.Generation, last)
				}
				if last = x.Generation; x.Ours() {
					if x.Own {
						t.Errorf("%s: a transaction of the Conn itself is described: %+v", what, x)
					}
					return x
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: no transaction", what)
			}
		}
	}
	return next, func() error { cancel(); return <-ended }
}

func TestWatch(t *testing.T) {
	c := kernel(t)
	next, stop := received(t, c)
	// Transactions of this connection are marked; transactions about other tables are not
	// ours.
	want := ruleset.For([]masq.Attachment{attachment("a", masq.Default(), "10.88.0.5")}, ruleset.Sources{}, everyEgress)
	if _, err := c.Apply(want); err != nil {
		t.Fatal(err)
	}
	nftables(t, "table inet other { chain masq { }; }\ntable ip masq { chain c { }; }", "-f", "-")
	id := "policy-" + masq.Default().ID()
	element := func(set, key, to, comment string, deleted bool) ElementEvent {
		return ElementEvent{ruleset.LiveElement{Set: set, Element: ruleset.Element{Key: key, Goto: to, Comment: comment}}, deleted}
	}
	for _, x := range []struct {
		change    string
		structure bool
		elements  []ElementEvent
	}{
		{"add element inet masq policy4 { 10.1.1.1 comment \"x/y/z\" : goto " + id + " }", false, []ElementEvent{element("policy4", "10.1.1.1", id, "x/y/z", false)}},
		{"add element inet masq policy6 { fd00::1 : goto " + id + " }", false, []ElementEvent{element("policy6", "fd00::1", id, "", false)}},
		{`add element inet masq sources4 { "veth1" . 10.1.1.1 }`, false, []ElementEvent{element("sources4", `"veth1" . 10.1.1.1`, "", "", false)}},
		{"add element inet masq invalid4 { 10.1.1.1, 10.1.1.2 }", false, []ElementEvent{element("invalid4", "10.1.1.1", "", "", false), element("invalid4", "10.1.1.2", "", "", false)}},
		{
			"delete element inet masq policy4 { 10.88.0.5 }\nadd element inet masq policy4 { 10.88.0.5 : goto " + id + " }", false,
			[]ElementEvent{element("policy4", "10.88.0.5", id, "net/a/eth0", true), element("policy4", "10.88.0.5", id, "", false)},
		},
		{"flush set inet masq invalid4", false, []ElementEvent{element("invalid4", "10.1.1.1", "", "", true), element("invalid4", "10.1.1.2", "", "", true), element("invalid4", "10.88.0.5", "", "", true)}},
		{"insert rule inet masq postrouting accept", true, nil},
		{"delete element inet masq never { local }", true, nil},
		{"add set inet masq never2 { type ipv4_addr; }", true, nil},
		{"delete set inet masq never2", true, nil},
		{"add table inet masq { flags dormant; }", true, nil},
		{"flush ruleset", true, nil},
	} {
		nftables(t, x.change, "-f", "-")
		got := next(x.change)
		slices.SortStableFunc(got.Elements, func(a, b ElementEvent) int { return strings.Compare(a.Key, b.Key) })
		if got.Structure != x.structure || got.Exposing != (x.structure && !strings.HasPrefix(x.change, "add set")) || !slices.Equal(got.Elements, x.elements) || got.Plugin() || got.Process != "nft" {
			t.Errorf("%s: %+v", x.change, got)
		}
	}
	// A program with the plugin's name.
	path, err := exec.LookPath("nft")
	if err != nil {
		t.Fatal(err)
	}
	plugin := filepath.Join(t.TempDir(), pluginName)
	if err := os.Symlink(path, plugin); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(plugin, "add", "table", "inet", "masq").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if x := next("the plugin's"); !x.Plugin() || !x.Structure {
		t.Errorf("the plugin's change is %+v", x)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestWatchBulk: of very many elements none is listed.
func TestWatchBulk(t *testing.T) {
	c := kernel(t)
	if _, err := c.Apply(ruleset.For(many(maxElementEvents+1), ruleset.Sources{}, everyEgress)); err != nil {
		t.Fatal(err)
	}
	next, _ := received(t, c)
	nftables(t, "flush set inet masq invalid4", "-f", "-")
	if x := next("flushed"); !x.Bulk || x.Structure || len(x.Elements) > 0 {
		t.Errorf("%d elements, bulk %t", len(x.Elements), x.Bulk)
	}
	nftables(t, "add element inet masq invalid4 { 10.88.0.5 }", "-f", "-")
	if x := next("one"); x.Bulk || len(x.Elements) != 1 {
		t.Errorf("after it %+v", x)
	}
}

func TestWatchReportsLostTransactions(t *testing.T) {
	c := kernel(t)
	w, err := c.watchWith(4096)
	if err != nil {
		t.Fatal(err)
	}
	// More happens than fits the buffer, and nothing is read meanwhile.
	nftables(t, ruleset.For(several(t), ruleset.Sources{}, everyEgress).String(), "-f", "-")
	for range 20 {
		nftables(t, "flush ruleset", "-f", "-")
		nftables(t, ruleset.For(several(t), ruleset.Sources{}, everyEgress).String(), "-f", "-")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	lost, later := false, false
	if err := w.Run(ctx, func(x Transaction, isLost bool) {
		switch {
		case isLost && !lost:
			lost = true
			// Later transactions are reported: a caller that reads the state now misses
			// none.
			nftables(t, "flush ruleset", "-f", "-")
		case lost && (isLost || x.Ours()):
			later = true
			cancel()
		}
	}); err != nil {
		t.Fatal(err)
	}
	if !lost || !later {
		t.Errorf("reported as lost: %t; later transactions received: %t", lost, later)
	}
}

// TestWatchAfterALargeChange: while a large transaction of the Conn itself is made,
// nothing is received. All later transactions are.
func TestWatchAfterALargeChange(t *testing.T) {
	c := kernel(t)
	w, err := c.Watch()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	received := 0
	changes := 0
	for i := range 3 {
		all := many(400 + i)
		if _, err := c.Apply(ruleset.For(all, ruleset.Sources{}, everyEgress)); err != nil {
			t.Fatal(err)
		}
		nftables(t, "flush ruleset", "-f", "-")
		changes++
	}
	if err := w.Run(ctx, func(x Transaction, lost bool) {
		if lost {
			t.Error("notifications were lost")
		}
		if x.Ours() {
			received++
		}
		if received == changes {
			cancel()
		}
	}); err != nil || received != changes {
		t.Errorf("received %d of %d changes, %v", received, changes, err)
	}
}
