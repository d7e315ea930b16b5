package reconcile

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// numbered returns a record with an address that no other one has.
func numbered(n int) store.Record {
	r := record(fmt.Sprint("c", n))
	r.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 88, byte(n >> 8), byte(n)})}
	r.Created = time.Unix(int64(n), 0)
	return r
}

// syncTest is a Loop over some attachments, after its first sync.
type syncTest struct {
	t *testing.T
	k *fakeKernel
	l *Loop
}

func newSyncTest(t *testing.T, n int) syncTest {
	t.Helper()
	k := &fakeKernel{}
	var all []store.Record
	for i := range n {
		all = append(all, numbered(i))
	}
	l := newLoop(t, k, all...)
	l.syncScope(t, Changes)
	k.deleted()
	return syncTest{t, k, l}
}

// sync runs a sync, and returns the number of repairs.
func (s syncTest) sync() int {
	s.t.Helper()
	before := s.repairs()
	s.l.syncScope(s.t, Changes)
	if p := s.l.Stats().Problem; p != "" {
		s.t.Fatal(p)
	}
	return s.repairs() - before
}

func (s syncTest) repairs() (n int) {
	for _, count := range s.l.Stats().Repairs {
		n += count
	}
	return n
}

// has reports whether the kernel has the elements of a record.
func (s syncTest) has(r store.Record) bool {
	for _, e := range ruleset.Live(r.Attachment, ruleset.OwnsAll) {
		if _, ok := s.k.elements[elementKey{e.Set, e.Key}]; !ok {
			return false
		}
	}
	return true
}

// add and del do what the plugin does. If late is set, the cache has received no event of
// the directory yet.
func (s syncTest) add(r store.Record, late bool) {
	s.record(pending(r), late)
	s.k.edit("masq", ruleset.Live(r.Attachment, ruleset.OwnsAll), nil)
	s.record(r, late)
}

func (s syncTest) del(r store.Record, late bool) {
	s.record(pending(r), late)
	s.k.edit("masq", nil, ruleset.Live(r.Attachment, ruleset.OwnsAll))
	if late {
		s.l.deps.Records.removeLater(s.t, r)
	} else {
		s.l.deps.Records.remove(s.t, r)
	}
}

func (s syncTest) record(r store.Record, late bool) {
	if late {
		s.l.deps.Records.later(s.t, r)
	} else {
		s.l.deps.Records.write(s.t, r)
	}
}

// pending returns the record of an attachment that the plugin is adding or removing.
func pending(r store.Record) store.Record {
	r.Ready = false
	return r
}

// TestAddAndDelAreExplained: an ADD and a DEL are explained by their record, also if the
// events of the directory are late. Nothing is compared or repaired, however many
// attachments there are.
func TestAddAndDelAreExplained(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late %t", late), func(t *testing.T) {
			c := newSyncTest(t, 50)
			structures, full := c.k.comparisons(), c.l.Stats().FullSyncs
			for i := range 20 {
				r := numbered(1000 + i)
				c.add(r, late)
				if n := c.sync(); n != 0 || !c.has(r) {
					t.Fatalf("ADD: %d repairs, in place %t", n, c.has(r))
				}
				if late {
					if err := c.l.deps.Records.Refresh(); err != nil {
						t.Fatal(err)
					}
					c.sync()
				}
				if i%2 == 0 {
					c.del(r, late)
				} else { // a DEL that has not ended
					c.record(pending(r), late)
					c.k.edit("masq", nil, ruleset.Live(r.Attachment, ruleset.OwnsAll))
				}
				if n := c.sync(); n != 0 || c.has(r) {
					t.Fatalf("DEL: %d repairs, still there %t", n, c.has(r))
				}
				c.l.deps.Records.remove(t, r)
				if n := c.sync(); n != 0 {
					t.Fatalf("after DEL: %d repairs", n)
				}
			}
			if c.k.edits != 0 || c.k.comparisons() != structures || c.l.Stats().FullSyncs != full {
				t.Errorf("%d transactions, %d comparisons of the structure, %d of all", c.k.edits, c.k.comparisons()-structures, c.l.Stats().FullSyncs-full)
			}
			// For comparison: the change of another program is repaired by one transaction, and
			// only the flows of its attachment are deleted.
			c.k.deleted()
			c.k.edit("nft", nil, ruleset.Live(numbered(7).Attachment, ruleset.OwnsAll)[:1])
			n := c.sync()
			if flows, _ := c.k.deleted(); n != 1 || !c.has(numbered(7)) || c.k.edits != 1 || !slices.Equal(flows, []string{"10.88.0.7"}) {
				t.Errorf("%d repairs by %d transactions, flows of %q", n, c.k.edits, flows)
			}
			if c.l.Stats().FullSyncs != full {
				t.Error("the whole table was compared")
			}
		})
	}
}

// TestUnexpectedElements: elements are removed on the proof of their record alone.
func TestUnexpectedElements(t *testing.T) {
	c := newSyncTest(t, 3)
	r := numbered(500)
	elements := ruleset.Live(r.Attachment, ruleset.OwnsAll)
	for _, x := range []struct {
		name  string
		setup func()
		stays bool
	}{
		{"no record", func() {}, false},
		{"a record without an event yet", func() { c.record(r, true) }, true},
		{"a pending record", func() { c.record(pending(r), true) }, true},
		{"a pending record without addresses yet", func() {
			intent := pending(r)
			intent.Addresses, intent.Policy = nil, nil
			c.record(intent, true)
		}, true},
		{"a record that cannot be read", func() {
			if err := os.WriteFile(c.l.deps.Records.records.PathOf(r.Digest()), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"a record of another address", func() { other := r; other.Addresses = numbered(501).Addresses; c.record(other, true) }, false},
	} {
		x.setup()
		c.k.edit("nft", elements, nil)
		c.sync()
		if c.has(r) != x.stays {
			t.Errorf("%s: elements are present: %t", x.name, c.has(r))
		}
		c.l.deps.Records.remove(t, r)
		c.sync()
		if c.has(r) {
			t.Errorf("%s: the elements stay after the record is removed", x.name)
			c.k.edit("nft", nil, elements)
			c.sync()
		}
	}
	// Between the judgment and the removal the plugin gives the address to another
	// attachment.
	next := numbered(502)
	next.Addresses = r.Addresses
	c.k.beforeEdit = func() {
		c.k.beforeEdit = nil
		c.record(next, false)
		c.k.edit("masq", ruleset.Live(next.Attachment, ruleset.OwnsAll), nil)
	}
	c.k.edit("nft", elements, nil)
	c.sync()
	if !c.has(next) || c.k.elements[elementKey{"policy4", "10.88.1.244"}].Comment != next.Identity() {
		t.Error("the elements of a new attachment are removed")
	}
}

// TestTwoClaims: if two attachments have an address, it belongs to the later one until that
// is removed.
func TestTwoClaims(t *testing.T) {
	c := newSyncTest(t, 1)
	second := numbered(9)
	second.Addresses = numbered(0).Addresses
	holder := func() string { return c.k.elements[elementKey{"policy4", "10.88.0.0"}].Comment }
	c.record(pending(second), false)
	c.k.edit("masq", ruleset.Live(second.Attachment, ruleset.OwnsAll), ruleset.Live(numbered(0).Attachment, ruleset.OwnsAll))
	if c.sync(); holder() != second.Identity() {
		t.Errorf("%s has it while the later is added", holder())
	}
	c.record(second, false)
	if c.sync(); holder() != second.Identity() {
		t.Errorf("%s has it", holder())
	}
	c.del(second, false)
	if c.sync(); holder() != numbered(0).Identity() {
		t.Errorf("%s has it after the later is removed", holder())
	}
}

// TestTakenOver: while a later attachment takes an address over, elements that only the
// earlier one needs stay missing. If the later one is removed, they are restored.
func TestTakenOver(t *testing.T) {
	for _, x := range []struct {
		name  string
		late  bool // the directory's events about the later record have not arrived
		ended bool // its ADD has ended
	}{
		{"pending", false, false},
		{"pending, without an event yet", true, false},
		{"ready, without an event yet", true, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := newSyncTest(t, 1)
			first, second := numbered(0), numbered(9)
			second.Addresses = first.Addresses
			p := *second.Policy
			p.MSSClamp, p.DropInvalid = masq.ClampOff, false
			second.Policy = &p
			theirs, own := ruleset.Live(first.Attachment, ruleset.OwnsAll), ruleset.Live(second.Attachment, ruleset.OwnsAll)
			has := func(e ruleset.LiveElement) bool {
				return c.k.elements[elementKey{e.Set, e.Key}] == e
			}

			c.record(pending(second), x.late)
			c.k.edit("masq", own, theirs)
			if x.ended {
				c.record(second, x.late)
			}
			c.sync()
			for _, e := range theirs {
				if has(e) {
					t.Errorf("%s %s of the earlier attachment is restored", e.Set, e.Key)
				}
			}
			for _, e := range own {
				if !has(e) {
					t.Errorf("%s %s of the later attachment is missing", e.Set, e.Key)
				}
			}

			// The ADD was undone, or a DEL without the earlier record removed the elements.
			c.k.edit("masq", nil, own)
			c.l.deps.Records.remove(t, second)
			c.sync()
			if !c.has(first) {
				t.Error("the elements of the earlier attachment stay missing after the later one is removed")
			}
		})
	}
}

// TestUntranslatedFlows: flows that may have begun while rules were missing are deleted,
// whichever program restored the rules.
func TestUntranslatedFlows(t *testing.T) {
	structural := nft.Transaction{Process: "nft", Structure: true, Exposing: true}
	restored := nft.Transaction{Process: "masq", Structure: true, Exposing: true, Bulk: true}
	for _, x := range []struct {
		name string
		do   func(c syncTest)
		want int
	}{
		{"a flush, and an ADD that restores the table", func(c syncTest) { c.k.transaction(structural); c.k.transaction(restored) }, 3},
		{"lost notifications", func(c syncTest) { c.l.EventsLost() }, 3},
		{"a missing notification", func(c syncTest) {
			c.k.generation += 2
			c.k.transaction(nft.Transaction{Process: "iptables"})
		}, 3},
		{"a deleted element that an ADD restores", func(c syncTest) {
			e := ruleset.Live(numbered(1).Attachment, ruleset.OwnsAll)
			c.k.edit("nft", nil, e)
			c.k.edit("masq", e, nil)
		}, 1},
		{"an ADD that creates the table", func(c syncTest) { c.k.transaction(restored) }, 0},
		{"a set of another program", func(c syncTest) { c.k.transaction(nft.Transaction{Process: "nft", Structure: true}) }, 0},
		{"another table", func(c syncTest) { c.k.transaction(nft.Transaction{Process: "nft"}) }, 0},
	} {
		c := newSyncTest(t, 3)
		x.do(c)
		c.sync()
		if flows, _ := c.k.deleted(); len(flows) != x.want {
			t.Errorf("%s: flows of %q", x.name, flows)
		}
		c.sync()
		if flows, _ := c.k.deleted(); len(flows) != 0 {
			t.Errorf("%s: the next sync deleted flows of %q", x.name, flows)
		}
	}
}

// TestMissingTransactions: if notifications are missing, the whole table is compared. One
// is missing if it has not arrived by the next resync.
func TestMissingTransactions(t *testing.T) {
	c := newSyncTest(t, 2)
	full := func() int { return c.l.Stats().FullSyncs }
	before := full()
	c.k.generation++ // without a notification
	c.l.syncScope(t, Generation)
	if full() != before {
		t.Error("a notification that may still arrive counts as lost")
	}
	c.l.syncScope(t, Generation)
	if full() != before+1 {
		t.Errorf("compared %d times", full()-before)
	}
	c.l.syncScope(t, Generation)
	c.l.syncScope(t, Generation)
	if full() != before+1 {
		t.Errorf("compared %d times", full()-before)
	}
	for i := range maxTransactions + 2 {
		c.k.transaction(nft.Transaction{Process: "iptables"})
		if i == 0 {
			c.l.syncScope(t, Changes)
		}
	}
	c.sync()
	if full() != before+2 {
		t.Errorf("after more transactions than are kept: compared %d times", full()-before)
	}
}

// TestManyMissing: many missing elements of a set are added in one transaction, and the
// flows of all attachments are searched.
func TestManyMissing(t *testing.T) {
	c := newSyncTest(t, 3*manyMissing)
	c.k.elements = map[elementKey]ruleset.LiveElement{}
	c.k.transaction(nft.Transaction{Process: "nft", Bulk: true})
	edits, sets := c.k.edits, 3 // policy4, invalid4, clamp4-pmtu
	if n := c.sync(); n < 3*manyMissing || c.k.edits != edits+sets || !c.has(numbered(5)) {
		t.Errorf("%d repairs in %d transactions", n, c.k.edits-edits)
	}
	if flows, _ := c.k.deleted(); len(flows) != 3*manyMissing {
		t.Errorf("flows of %d attachments", len(flows))
	}
}

// TestLargeTransactionIsVerified: after a large transaction of the loop, which may have
// hidden notifications of others, the whole table is compared once.
func TestLargeTransactionIsVerified(t *testing.T) {
	c := newSyncTest(t, 3)
	c.k.large = true
	c.k.change(nft.Difference{Kind: nft.KindTable, Reason: masq.Missing})
	before := c.l.Stats().FullSyncs
	c.sync()
	c.k.changes = nil
	c.sync()
	c.sync()
	if n := c.l.Stats().FullSyncs - before; n != 1 {
		t.Errorf("compared %d times", n)
	}
}

// TestConflicts: an object that a newer attachment may need is judged again with the
// records of that moment, a few times, and then by the next sync.
func TestConflicts(t *testing.T) {
	c := newSyncTest(t, 2)
	c.k.conflicts = 2
	c.k.changeBy("masq", nft.Difference{Kind: nft.KindChain, Reason: masq.Unexpected, Object: "policy-x"})
	c.k.changes = nil
	before := c.k.comparisons()
	if c.sync(); c.k.comparisons() != before+3 || c.l.last.structure {
		t.Errorf("%d comparisons", c.k.comparisons()-before)
	}
	// The records are read again for each.
	c.k.conflicts = 1
	c.k.transaction(nft.Transaction{Process: "nft", Structure: true})
	c.record(numbered(7), true)
	if c.sync(); c.l.deps.Records.stateOf(numbered(7).Digest()) != recordReady {
		t.Error("the records are not read again after a conflict")
	}
	c.k.conflicts = 2 * maxStructureAttempts
	c.k.transaction(nft.Transaction{Process: "nft", Structure: true})
	if c.sync(); !c.l.last.structure || c.l.Stats().Problem != "" {
		t.Error("the remaining objects are forgotten, or count as a failure")
	}
	c.sync()
	if c.sync(); c.l.last.structure || c.k.conflicts != 0 {
		t.Errorf("%d conflicts left", c.k.conflicts)
	}
}

// TestConfigurationMovesElements: a changed configuration moves attachments with the
// node's policy to other sets.
func TestConfigurationMovesElements(t *testing.T) {
	k := &fakeKernel{}
	r := numbered(1)
	r.Policy.Node = true
	node := NodeConfig{}
	l := newLoopOf(t, k, func(d *Deps) { d.Node = func() NodeConfig { return node } }, r)
	l.syncScope(t, Changes)
	clamped := masq.Default()
	clamped.MSSClamp = masq.ClampOff
	clamped.Node = true
	node = NodeConfig{Version: 1, Policy: &clamped}
	if l.syncScope(t, Changes) {
		t.Error("what is newly desired counts as drift")
	}
	if _, ok := k.elements[elementKey{"clamp4-pmtu", "10.88.0.1"}]; ok {
		t.Error("it is still clamped")
	}
	if _, ok := k.elements[elementKey{"policy4", "10.88.0.1"}]; !ok {
		t.Error("it is no longer translated")
	}
}

// TestPreviousConfigurationHasItsEgressAddresses: if another program changes the table while
// the configuration changes, the table is compared with everything that was desired before.
// So what is newly desired does not count as drift.
func TestPreviousConfigurationHasItsEgressAddresses(t *testing.T) {
	k := &fakeKernel{}
	r := numbered(1)
	r.Policy.Node = true
	with := masq.Default()
	with.Node = true
	with.SNATAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	without := masq.Default()
	without.Node = true
	node := NodeConfig{Version: 1, Policy: &with}
	l := newLoopOf(t, k, func(d *Deps) { d.Node = func() NodeConfig { return node } }, r)
	l.syncScope(t, Changes)
	before := k.structures[len(k.structures)-1].Table.String()
	if !strings.Contains(before, "192.0.2.1") {
		t.Fatalf("the egress address is not in use:\n%s", before)
	}
	n := len(k.structures)
	k.change(nft.Difference{Kind: nft.KindRule, Reason: masq.Missing, Object: "forward/clamp", Parent: "forward"})
	node = NodeConfig{Version: 2, Policy: &without}
	l.syncScope(t, Changes)
	if len(k.structures) < n+2 {
		t.Fatalf("%d comparisons, not one for each configuration", len(k.structures)-n)
	}
	if got := k.structures[n].Table.String(); got != before {
		t.Errorf("compared with\n%s\nnot with\n%s", got, before)
	}
	if got := k.structures[len(k.structures)-1].Table.String(); strings.Contains(got, "192.0.2.1") {
		t.Errorf("the new configuration is not active:\n%s", got)
	}
}

// TestPortsPublishedDuringAComparison: a program may publish a port after a full comparison
// has read the ports and before it reads the generation.
func TestPortsPublishedDuringAComparison(t *testing.T) {
	k := &fakeKernel{}
	r := numbered(1)
	r.Policy.ToPorts = []masq.PortRange{{First: 20000, Last: 20999}}
	var published []masq.PortRange
	first := true
	l := newLoopOf(t, k, func(d *Deps) {
		d.ServicePorts = func([]masq.PortRange) ([]masq.PortRange, error) {
			before := published
			if first {
				first = false
				published = []masq.PortRange{{First: 20500, Last: 20500}}
				k.transaction(nft.Transaction{Process: "nft", Published: true})
			}
			return before, nil
		}
	}, r)
	l.syncScope(t, Changes)
	l.syncScope(t, Changes)
	if p := l.Stats().Problem; p != "" {
		t.Fatal(p)
	}
	if !slices.Equal(l.last.egress.found.Reserved, published) {
		t.Errorf("reserved: %v; want %v", l.last.egress.found.Reserved, published)
	}
}
