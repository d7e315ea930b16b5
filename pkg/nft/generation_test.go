package nft

import (
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// The generation that is returned stays the kernel's until somebody changes
// something.
func TestGenerationOfAnAgreement(t *testing.T) {
	c := kernel(t)
	want := ruleset.For(several(t), others(t))
	same := func(what string, changed bool) {
		t.Helper()
		changes, agreed, err := c.ApplyBeside(want, ruleset.Table{})
		if err != nil || changed != (len(changes) > 0) {
			t.Fatalf("%s: %v, %v", what, changes, err)
		}
		if now, err := c.Generation(); err != nil || now != agreed {
			t.Errorf("%s: agreed at %d, and now it is %d, %v", what, agreed, now, err)
		}
	}
	same("made", true)
	same("nothing to do", false)
	nftables(t, "flush ruleset", "-f", "-")
	same("repaired", true)
	want = ruleset.Table{}
	same("deleted", true)
	same("nothing there", false)
	_, agreed, err := c.ApplyBeside(want, ruleset.Table{})
	nftables(t, "table inet other { }", "-f", "-")
	if now, again := c.Generation(); err != nil || again != nil || now == agreed {
		t.Errorf("another's change leaves the generation at %d: %v, %v", now, err, again)
	}
}

// A rule that is changed in its place counts on.
func TestChangedRulesCountOn(t *testing.T) {
	c := kernel(t)
	before, after := masq.Default(), masq.Default()
	before.Node, after.Node, after.RandomFully = true, true, false
	table := func(p masq.Policy) ruleset.Table {
		return ruleset.For([]masq.Attachment{attachment("a", p, "10.88.0.5")}, ruleset.Sources{})
	}
	const counted = "counter packets 7 bytes 700 masquerade"
	text := strings.Replace(table(before).String(), "counter packets 0 bytes 0 masquerade", counted, 1)
	nftables(t, text, "-f", "-")
	if changes, err := c.Apply(table(after)); err != nil || len(changes) != 1 {
		t.Fatalf("%v, %v", changes, err)
	}
	if list := nftables(t, "", "list", "table", "inet", "masq"); !strings.Contains(list, counted+" comment") {
		t.Errorf("it begins anew:\n%s", list)
	}
}
