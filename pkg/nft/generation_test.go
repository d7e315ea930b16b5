package nft

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// The generation that is returned stays the kernel's until somebody changes
// something.
func TestGenerationOfAnAgreement(t *testing.T) {
	c := kernel(t)
	want := ruleset.For(several(t), others(t), everyEgress)
	same := func(what string, changed bool) {
		t.Helper()
		changes, agreed, err := c.ApplyBeside(want, ruleset.Table{}, 0)
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
	_, agreed, err := c.ApplyBeside(want, ruleset.Table{}, 0)
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
		return ruleset.For([]masq.Attachment{attachment("a", p, "10.88.0.5")}, ruleset.Sources{}, everyEgress)
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

// What came since it was asked what is wanted is nobody's as far as the asker knows,
// and stays; what is missing is put back all the same.
func TestNewsAreLeftAlone(t *testing.T) {
	c := kernel(t)
	a, b := attachment("a", masq.Default(), "10.88.0.5"), attachment("b", masq.Default(), "10.88.0.6")
	want := ruleset.For([]masq.Attachment{a}, ruleset.Sources{}, everyEgress)
	_, asOf, err := c.ApplyBeside(want, ruleset.Table{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	apply := func(asOf uint32) ([]Change, error) {
		changes, _, err := c.ApplyBeside(want, ruleset.Table{}, asOf)
		return changes, err
	}
	has := func(id string) bool {
		t.Helper()
		all, err := c.Identities()
		if err != nil {
			t.Fatal(err)
		}
		return slices.Contains(all, "net/"+id+"/eth0")
	}
	// Another table is no news.
	nftables(t, "table inet other { }", "-f", "-")
	if _, err := apply(asOf); err != nil {
		t.Fatal(err)
	}
	if err := c.Add(b, hasAll, nil, nil); err != nil {
		t.Fatal(err)
	}
	if changes, err := apply(asOf); !errors.Is(err, ErrNews) || !has("b") || len(changes) == 0 {
		t.Errorf("%v, %v; b is there: %t", changes, err, has("b"))
	}
	now, err := c.Generation()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := apply(now); err != nil || has("b") {
		t.Errorf("known to be nobody's: %v; b is there: %t", err, has("b"))
	}
	nftables(t, "delete element inet masq policy4 { 10.88.0.5 }", "-f", "-")
	if changes, err := apply(now); err != nil || len(changes) != 1 || !has("a") {
		t.Errorf("missing: %v, %v", changes, err)
	}
}
