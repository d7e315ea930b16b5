package report

import (
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
)

// TestRuleStates: each state of a rule.
func TestRuleStates(t *testing.T) {
	want := map[string]string{
		"postrouting/policy4": Missing, "postrouting/policy6": OK, "forward/clamp": Changed, hostile: Unexpected, "": Unexpected,
	}
	seen := map[string]int{}
	for _, r := range rulesValue() {
		if s, ok := want[r.ID]; ok {
			seen[r.ID]++
			if r.State != s {
				t.Errorf("rule %q is %s, want %s", r.ID, r.State, s)
			}
			continue
		}
		if r.State != OK || r.Text == "" || r.Why == "" {
			t.Errorf("%+v", r)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("found %v", seen)
	}
}

// TestRulesOfPendingAttachments: rules of a pending attachment are neither unexpected nor
// missing.
func TestRulesOfPendingAttachments(t *testing.T) {
	d := DesiredOf(records(), nil, hasAll)
	var c []nft.CountedRule
	for _, chain := range d.Pending.Chains {
		for _, r := range chain.Rules {
			c = append(c, nft.CountedRule{Chain: chain.Name, ID: r.ID})
		}
	}
	for _, r := range RulesOf(d, c, nil) {
		if r.State == Unexpected {
			t.Errorf("%+v", r)
		}
	}
}

// TestDesired: policies and tables that follow from records and the node's policy.
func TestDesired(t *testing.T) {
	all := records()
	d := DesiredOf(all, nodePolicy(), hasAll)
	for i, want := range []*masq.Policy{all[0].Policy, nil, nil, all[3].Policy} {
		if got := d.Attachments[i].Policy; i != 1 && (got == nil) != (want == nil) || want != nil && !got.Equal(*want) {
			t.Errorf("attachment %d has %+v", i, got)
		}
	}
	if p := d.Attachments[1].Policy; !p.Node || p.RandomFully {
		t.Errorf("the node's policy does not apply: %+v", p)
	}
	// Without a policy of the node, the default policy applies.
	if p := DesiredOf(all, nil, hasAll).Attachments[1].Policy; !p.Node || !p.RandomFully {
		t.Errorf("%+v", p)
	}
	ids := map[string]Policy{}
	for _, p := range d.Policies() {
		ids[p.ID] = p
	}
	if a := ids[all[0].Policy.ID()]; a.Attachments != 2 || a.Sources {
		t.Errorf("%+v", a)
	}
	if n := ids[d.Attachments[1].Policy.ID()]; n.Attachments != 1 || !n.Sources {
		t.Errorf("%+v", n)
	}
	// Without ready attachments no table is desired.
	if d := DesiredOf(all[3:], nil, hasAll); len(d.Table.Chains) != 0 || len(d.Pending.Chains) == 0 {
		t.Errorf("%+v", d)
	}
	if len(DesiredOf(nil, nodePolicy(), hasAll).Table.Chains) == 0 {
		t.Error("sources without attachments: no table is desired")
	}
}
