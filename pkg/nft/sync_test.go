package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// desiredOf returns the desired structure for attachments, with all their elements if the
// table is made.
func desiredOf(all ...masq.Attachment) Desired {
	table := ruleset.For(all, ruleset.Sources{}, everyEgress)
	return Desired{Table: table.Skeleton(), Complete: func() ruleset.Table { return table }}
}

// texts returns differences in words.
func texts(all []Difference) []string {
	out := []string{}
	for _, c := range all {
		out = append(out, c.String())
	}
	slices.Sort(out)
	return out
}

// TestSyncStructure: faults that do not depend on attachments are repaired whatever other
// programs do meanwhile. Objects that a newer attachment may need are kept until it is
// known that none does.
func TestSyncStructure(t *testing.T) {
	c := kernel(t)
	a := attachment("a", masq.Default(), "10.88.0.5")
	d := desiredOf(a)
	if r, err := c.SyncStructure(d); err != nil || len(r.Changes) == 0 {
		t.Fatalf("made: %v, %v", r, err)
	}
	if r, err := c.SyncStructure(d); err != nil || len(r.Changes) != 0 {
		t.Fatalf("nothing to do: %v, %v", texts(r.Changes), err)
	}
	if _, found, err := c.Element("policy4", "10.88.0.5"); !found || err != nil {
		t.Errorf("the table was made without its elements: %v", err)
	}
	// Add a newer attachment with another policy, and an unexpected rule.
	other := masq.Default()
	other.MSSClamp, _ = masq.ClampTo(1300)
	b := attachment("b", other, "10.88.0.6")
	if err := c.Add(b, hasAll, nil, nil); err != nil {
		t.Fatal(err)
	}
	nftables(t, "insert rule inet masq postrouting accept\ninsert rule inet masq clamp accept", "-f", "-")
	list := func() string { return nftables(t, "", "list", "table", "inet", "masq") }
	before := list()
	r, err := c.SyncStructure(d)
	if !errors.Is(err, ErrConflict) || len(r.Changes) != 2 {
		t.Errorf("repaired %v, %v", texts(r.Changes), err)
	}
	if after := list(); after != strings.Replace(strings.Replace(before, "\t\taccept\n", "", 1), "\t\taccept\n", "", 1) {
		t.Errorf("more than the two rules were removed:\n%s", after)
	}
	// The attachment is pending.
	d.Pending = ruleset.For([]masq.Attachment{b}, ruleset.Sources{}, everyEgress).Skeleton()
	if r, err := c.SyncStructure(d); err != nil || len(r.Changes) != 0 {
		t.Errorf("pending objects: %v, %v", texts(r.Changes), err)
	}
	d.Pending = ruleset.Table{}
	// The attachment's record cannot be read.
	d.Keep = true
	if r, err := c.SyncStructure(d); err != nil || len(r.Changes) != 0 {
		t.Errorf("kept objects: %v, %v", texts(r.Changes), err)
	}
	d.Keep = false
	// Nothing needs the policy, but its element still exists.
	now := func() {
		if d.AsOf, err = c.Generation(); err != nil {
			t.Fatal(err)
		}
	}
	now()
	nftables(t, "insert rule inet masq postrouting accept", "-f", "-")
	now()
	if r, err := c.SyncStructure(d); err != nil || !r.InUse || len(r.Changes) != 1 {
		t.Errorf("objects in use: %v, %t, %v", texts(r.Changes), r.InUse, err)
	}
	// The chain that an element leads to next is made, whether or not records can be read.
	moved := directPolicy()
	for _, d.Keep = range []bool{true, false} {
		moved.Subnets = append(moved.Subnets, netip.MustParsePrefix([]string{"10.1.0.0/16", "10.2.0.0/16"}[len(moved.Subnets)]))
		d.Table = ruleset.For([]masq.Attachment{a, attachment("b", moved, "10.88.0.6")}, ruleset.Sources{}, everyEgress).Skeleton()
		now()
		before := list()
		r, err := c.SyncStructure(d)
		if err != nil || r.InUse == d.Keep || !strings.Contains(list(), "chain policy-"+moved.ID()) {
			t.Errorf("the new chain of an element, %t: %v, %t, %v", d.Keep, texts(r.Changes), r.InUse, err)
		}
		for line := range strings.Lines(before) {
			if !strings.Contains(list(), line) {
				t.Errorf("the new chain of an element, %t: %q is missing", d.Keep, line)
			}
		}
	}
	d.Table = ruleset.For([]masq.Attachment{a}, ruleset.Sources{}, everyEgress).Skeleton()
	if _, err := c.Edit(nil, []ruleset.LiveElement{{Set: "policy4", Element: ruleset.Element{Key: "10.88.0.6"}}}, 0); err != nil {
		t.Fatal(err)
	}
	now()
	if r, err := c.SyncStructure(d); err != nil || r.InUse || len(r.Changes) == 0 {
		t.Errorf("unused objects: %v, %v", texts(r.Changes), err)
	}
	if left, _, err := c.Scan(ruleset.For([]masq.Attachment{a}, ruleset.Sources{}, everyEgress)); err != nil || len(left) != 4 {
		t.Errorf("the rest of b: %v, %v", texts(left), err)
	}
	// Nothing is desired, but a newer attachment may exist.
	d = Desired{}
	if _, err := c.SyncStructure(d); !errors.Is(err, ErrConflict) {
		t.Errorf("the table: %v", err)
	}
	now()
	if r, err := c.SyncStructure(d); err != nil || len(r.Changes) != 1 {
		t.Errorf("the table: %v, %v", texts(r.Changes), err)
	}
}

// TestLargeTable: a large missing table is made in two transactions. The first has
// everything that translates.
func TestLargeTable(t *testing.T) {
	c := kernel(t)
	w, err := c.Watch()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.events.Close() }()
	all := many(liveAtOnce)
	before, err := c.Generation()
	if err != nil {
		t.Fatal(err)
	}
	d := desiredOf(all...)
	r, err := c.SyncStructure(d)
	if err != nil || !r.Large {
		t.Fatalf("large %t, %v", r.Large, err)
	}
	if after, err := c.Generation(); err != nil || after != before+2 {
		t.Errorf("%d transactions, %v", after-before, err)
	}
	// While the kernel enlarges a set's hash table, a list of the set can lack elements
	// (rhashtable_walk_next), so one comparison proves nothing.
	for deadline := time.Now().Add(time.Minute); ; {
		changes, err := c.Drift(ruleset.For(all, ruleset.Sources{}, everyEgress), ruleset.Table{})
		if err == nil && len(changes) == 0 {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("left: %v, %v", texts(changes), err)
		}
	}
	first := d.Complete().Translation()
	if changes, err := c.Apply(first); err != nil || len(changes) == 0 {
		t.Fatal(changes, err)
	}
	list := nftables(t, "", "list", "table", "inet", "masq")
	for _, has := range []string{"map policy4", "set direct4-", "chain postrouting", "10.88.0.5"} {
		if !strings.Contains(list, has) {
			t.Errorf("the first transaction lacks %s", has)
		}
	}
}

// TestUnfilled: a table that is made without its elements gets them afterwards.
func TestUnfilled(t *testing.T) {
	c := kernel(t)
	policy := masq.Default()
	policy.MSSClamp, _ = masq.ClampTo(1300) // a set that depends on the policy
	a := attachment("a", policy, "10.88.0.5")
	d := desiredOf(a)
	complete := d.Complete()
	d.Unfilled, d.Complete = true, nil
	if r, err := c.SyncStructure(d); err != nil || !r.Unfilled || len(r.Changes) == 0 {
		t.Fatalf("made: %+v, %v", r, err)
	}
	missing, whole, err := c.Scan(complete)
	if err != nil || !whole || len(missing) == 0 {
		t.Fatalf("missing %v, %t, %v", texts(missing), whole, err)
	}
	for _, name := range d.Table.LiveSets() {
		for _, s := range complete.Sets {
			for _, e := range s.Elements {
				if s.Name == name {
					if _, err := c.Edit([]ruleset.LiveElement{{Set: name, Element: e}}, nil, 0); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	if changes, err := c.Drift(complete, ruleset.Table{}); err != nil || len(changes) != 0 {
		t.Errorf("different: %v, %v", texts(changes), err)
	}
	if r, err := c.SyncStructure(d); err != nil || r.Unfilled || len(r.Changes) != 0 {
		t.Errorf("once more: %+v, %v", r, err)
	}
}

func TestEdit(t *testing.T) {
	c := kernel(t)
	a := attachment("a", masq.Default(), "10.88.0.5")
	if _, err := c.SyncStructure(desiredOf(a)); err != nil {
		t.Fatal(err)
	}
	e := ruleset.Live(attachment("b", masq.Default(), "10.88.0.6"), ruleset.OwnsAll)
	slices.SortFunc(e, func(a, b ruleset.LiveElement) int { return strings.Compare(b.Goto, a.Goto) }) // the verdict first
	if _, err := c.Edit(e, nil, 0); err != nil {
		t.Fatal(err)
	}
	got, found, err := c.Element("policy4", "10.88.0.6")
	if err != nil || !found || got != e[0] {
		t.Errorf("%+v, %t, %v; not %+v", got, found, err, e[0])
	}
	generation, err := c.Generation()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Edit(e, nil, generation); err != nil {
		t.Errorf("elements that exist: %v", err)
	}
	nftables(t, "add element inet masq invalid4 { 10.1.1.1 }", "-f", "-")
	for name, x := range map[string]struct {
		add, remove []ruleset.LiveElement
		generation  uint32
		want        error
	}{
		"already deleted":       {nil, []ruleset.LiveElement{{Set: "invalid4", Element: ruleset.Element{Key: "10.88.0.77"}}}, 0, nil},
		"of another generation": {e, nil, generation, ErrConflict},
		"of another chain":      {[]ruleset.LiveElement{{Set: "policy4", Element: ruleset.Element{Key: "10.88.0.6", Goto: "clamp"}}}, nil, 0, ErrConflict},
		"no chain":              {[]ruleset.LiveElement{{Set: "policy4", Element: ruleset.Element{Key: "10.88.0.9", Goto: "policy-none"}}}, nil, 0, ErrStructure},
		"no set":                {[]ruleset.LiveElement{{Set: "clamp4-1300", Element: ruleset.Element{Key: "10.88.0.9"}}}, nil, 0, ErrStructure},
	} {
		if _, err := c.Edit(x.add, x.remove, x.generation); !errors.Is(err, x.want) || (err == nil) != (x.want == nil) {
			t.Errorf("%s: %v, not %v", name, err, x.want)
		}
	}
	// Of several elements, the missing ones are left out and the existing one is deleted.
	some := make([]ruleset.LiveElement, 3)
	for i, key := range []string{"10.88.0.77", "10.1.1.1", "10.88.0.78"} {
		some[i] = ruleset.LiveElement{Set: "invalid4", Element: ruleset.Element{Key: key}}
	}
	if _, err := c.Edit(nil, some, 0); err != nil {
		t.Error(err)
	}
	if _, found, err := c.Element("invalid4", "10.1.1.1"); found || err != nil {
		t.Errorf("the element that existed: found %t, %v", found, err)
	}
	e[0].Comment = "x/y/z"
	if _, err := c.Edit(e[:1], e[:1], 0); err != nil {
		t.Error(err)
	}
	if got, _, err := c.Element("policy4", "10.88.0.6"); err != nil || got.Comment != "x/y/z" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := c.Edit([]ruleset.LiveElement{{Set: "never"}}, nil, 0); err == nil {
		t.Error("a set without attachments was edited")
	}
	for _, s := range []string{"policy4", "helper4-ftp-tcp"} {
		if _, found, err := c.Element(s, fmt.Sprint(netip.MustParseAddr("10.9.9.9"), map[bool]string{true: " . 21"}[s != "policy4"])); found || err != nil {
			t.Errorf("%s: found %t, %v", s, found, err)
		}
	}
}

// TestScan finds every element that differs, and no other.
func TestScan(t *testing.T) {
	c := kernel(t)
	a, b := attachment("a", masq.Default(), "10.88.0.5"), attachment("b", masq.Default(), "10.88.0.6", "fd00::6")
	want := ruleset.For([]masq.Attachment{a, b}, ruleset.Sources{}, everyEgress)
	if _, err := c.Apply(want); err != nil {
		t.Fatal(err)
	}
	if all, complete, err := c.Scan(want); err != nil || !complete || len(all) > 0 {
		t.Fatalf("%v, %t, %v", texts(all), complete, err)
	}
	id := "policy-" + masq.Default().ID()
	nftables(t, `delete element inet masq policy4 { 10.88.0.5 }
		delete element inet masq policy6 { fd00::6 }
		add element inet masq policy6 { fd00::6 comment "x/y/z" : goto `+id+` }
		add element inet masq invalid4 { 10.1.1.1 }`, "-f", "-")
	all, complete, err := c.Scan(want)
	if got := texts(all); err != nil || !complete || !slices.Equal(got, []string{
		"element invalid4 10.1.1.1: unexpected", "element policy4 10.88.0.5: missing", fmt.Sprintf("element policy6 fd00::6: has chain %q and comment %q", id, "x/y/z"),
	}) {
		t.Errorf("%q, %t, %v", got, complete, err)
	}
}

// TestReadWhileRulesAreReplaced checks an attachment while another program replaces the
// rules of its policy, and the reserved ports that they leave out. Each check reads either
// the old rules or the new ones, never neither.
func TestReadWhileRulesAreReplaced(t *testing.T) {
	c := kernel(t)
	a := attachment("a", masq.Default(), "10.88.0.5")
	tables := make([]ruleset.Table, 2)
	for i, ports := range [][]masq.PortRange{{{First: 5000, Last: 5009}}, {{First: 6000, Last: 6009}, {First: 7000, Last: 7009}}} {
		egress := everyEgress
		egress.Reserved = ports
		tables[i] = ruleset.For([]masq.Attachment{a}, ruleset.Sources{}, egress)
	}
	if _, err := c.Apply(tables[0]); err != nil {
		t.Fatal(err)
	}
	other, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	stop, ended := make(chan struct{}), make(chan error, 1)
	var replaced atomic.Int32
	go func() {
		defer close(ended)
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := other.Apply(tables[i%2]); err != nil {
				ended <- err
				return
			}
			replaced.Add(1)
		}
	}()
	for checked := 0; checked < 300 || replaced.Load() < 50 && len(ended) == 0; checked++ {
		if changes, err := c.Check(a, hasAll); err != nil || len(changes) > 0 {
			t.Errorf("%v, %v", texts(changes), err)
			break
		}
	}
	close(stop)
	if err := errors.Join(<-ended, other.Close()); err != nil {
		t.Fatal(err)
	}
}
