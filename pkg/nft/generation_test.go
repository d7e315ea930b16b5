package nft

import (
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// TestCountersOfChangedRules: a rule that is changed in place keeps its counter.
func TestCountersOfChangedRules(t *testing.T) {
	c := kernel(t)
	before, after := masq.Default(), masq.Default()
	before.Node, after.Node, after.RandomFully = true, true, false
	table := func(p masq.Policy) ruleset.Table {
		return ruleset.For([]masq.Attachment{attachment("a", p, "10.88.0.5")}, ruleset.Sources{}, everyEgress)
	}
	const counted = "counter packets 7 bytes 700 masquerade"
	text := strings.ReplaceAll(table(before).String(), "counter packets 0 bytes 0 masquerade", counted)
	rules := strings.Count(text, counted)
	nftables(t, text, "-f", "-")
	if changes, err := c.Apply(table(after)); err != nil || len(changes) != rules {
		t.Fatalf("%v, %v", changes, err)
	}
	if list := nftables(t, "", "list", "table", "inet", "masq"); strings.Count(list, counted) != rules {
		t.Errorf("the counter is lost:\n%s", list)
	}
}
