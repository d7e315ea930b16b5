package report

import (
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
)

func TestRuleStates(t *testing.T) {
	want := map[string]string{
		"postrouting/policy4": Missing, "postrouting/policy6": OK, "forward/clamp": Changed, hostile: Unexpected, "": Unexpected,
	}
	seen := map[string]int{}
	for _, r := range rulesValue() {
		if s, ok := want[r.ID]; ok {
			seen[r.ID]++
			if r.State != s {
				t.Errorf("%q is %s, not %s", r.ID, r.State, s)
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

// The rules of an attachment that is being added are not unexpected, wherever the
// plugin is with it.
func TestRulesOfAttachmentsOnTheMove(t *testing.T) {
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
	// Without one, the default does.
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
	// Nothing is asked for where nothing is ready.
	if d := DesiredOf(all[3:], nil, hasAll); len(d.Table.Chains) != 0 || len(d.Pending.Chains) == 0 {
		t.Errorf("%+v", d)
	}
	if len(DesiredOf(nil, nodePolicy(), hasAll).Table.Chains) == 0 {
		t.Error("sources alone ask for nothing")
	}
}
