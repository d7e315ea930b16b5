package reconcile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// numbered is a record with an address of its own.
func numbered(n int) store.Record {
	r := record(fmt.Sprint("c", n))
	r.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 88, byte(n >> 8), byte(n)})}
	r.Created = time.Unix(int64(n), 0)
	return r
}

// churned is a loop over some attachments that has compared all.
type churned struct {
	t *testing.T
	k *kernel
	b *book
	l *Loop
	a *asked
}

func churning(t *testing.T, n int) churned {
	t.Helper()
	k := &kernel{}
	var all []store.Record
	for i := range n {
		all = append(all, numbered(i))
	}
	l, a := loop(t, k, all...)
	l.sync(t.Context(), time.Now(), request{})
	return churned{t, k, l.Records.(*book), l, a}
}

// sync looks, and returns what was repaired.
func (c churned) sync() int {
	c.t.Helper()
	c.a.untranslated = nil
	before := c.repairs()
	c.l.sync(c.t.Context(), time.Now(), request{})
	if p := c.l.Stats().Problem; p != "" {
		c.t.Fatal(p)
	}
	return c.repairs() - before
}

func (c churned) repairs() (n int) {
	for _, k := range c.l.Stats().Repairs {
		n += k
	}
	return n
}

// flows returns the containers whose flows the last sync looked for.
func (c churned) flows() (out []string) {
	for _, w := range c.a.untranslated {
		for _, a := range w.Origins {
			out = append(out, a.Record.ContainerID)
		}
	}
	slices.Sort(out)
	return out
}

func (c churned) has(r store.Record) bool {
	for _, e := range ruleset.Live(r.Attachment, ruleset.Owned) {
		if _, ok := c.k.elements[elementKey{e.Set, e.Key}]; !ok {
			return false
		}
	}
	return true
}

// add and del are what the plugin does, with the events of the directory on time or
// late.
func (c churned) add(r store.Record, late bool) {
	intent := r
	intent.Ready = false
	c.record(intent, late)
	c.k.edit("masq", ruleset.Live(r.Attachment, ruleset.Owned), nil)
	c.record(r, late)
}

func (c churned) del(r store.Record, late bool) {
	intent := r
	intent.Ready = false
	c.record(intent, late)
	c.k.edit("masq", nil, ruleset.Live(r.Attachment, ruleset.Owned))
	if late {
		c.b.later(r.Key, nil)
	} else {
		c.b.remove(r)
	}
}

func (c churned) record(r store.Record, late bool) {
	if late {
		c.b.later(r.Key, &held{record: r})
	} else {
		c.b.write(r)
	}
}

// However many attachments there are, an ordinary ADD and DEL is explained by its
// record: nothing is compared, nothing is repaired, and nothing is put back, also where
// the events of the directory are late.
func TestAddAndDelAreExplained(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late %t", late), func(t *testing.T) {
			c := churning(t, 50)
			structures, full := c.k.looks(), c.l.Stats().FullSyncs
			for i := range 20 {
				r := numbered(1000 + i)
				c.add(r, late)
				if n := c.sync(); n != 0 || !c.has(r) {
					t.Fatalf("ADD: %d repairs, in place %t", n, c.has(r))
				}
				if late {
					_ = c.b.Refresh()
					c.sync()
				}
				if i%2 == 0 {
					c.del(r, late)
				} else { // in the midst of one
					pending := r
					pending.Ready = false
					c.record(pending, late)
					c.k.edit("masq", nil, ruleset.Live(r.Attachment, ruleset.Owned))
				}
				if n := c.sync(); n != 0 || c.has(r) {
					t.Fatalf("DEL: %d repairs, still there %t", n, c.has(r))
				}
				c.b.remove(r)
				if n := c.sync(); n != 0 {
					t.Fatalf("after DEL: %d repairs", n)
				}
			}
			if c.k.edits != 0 || c.k.looks() != structures || c.l.Stats().FullSyncs != full {
				t.Errorf("%d transactions, %d comparisons of the structure, %d of all", c.k.edits, c.k.looks()-structures, c.l.Stats().FullSyncs-full)
			}
			// The control: what another program does is repaired, by one transaction, and
			// the flows of its attachment alone are looked for.
			c.k.edit("nft", nil, ruleset.Live(numbered(7).Attachment, ruleset.Owned)[:1])
			if n := c.sync(); n != 1 || !c.has(numbered(7)) || c.k.edits != 1 || !slices.Equal(c.flows(), []string{"c7"}) {
				t.Errorf("%d repairs by %d transactions, flows of %q", n, c.k.edits, c.flows())
			}
			if c.l.Stats().FullSyncs != full {
				t.Error("it compared all")
			}
		})
	}
}

// What no record needs is removed, on the proof of its record alone.
func TestUnexpectedElements(t *testing.T) {
	c := churning(t, 3)
	stranger := numbered(500)
	elements := ruleset.Live(stranger.Attachment, ruleset.Owned)
	for _, x := range []struct {
		name  string
		setup func()
		stays bool
	}{
		{"no record", func() {}, false},
		{"a record that no event told of", func() { c.record(stranger, true) }, true},
		{"a pending one", func() { r := stranger; r.Ready = false; c.record(r, true) }, true},
		{"an intent, which names no address yet", func() {
			r := stranger
			r.Ready, r.Addresses, r.Policy = false, nil, nil
			c.record(r, true)
		}, true},
		{"one that cannot be read", func() { c.b.later(stranger.Key, &held{err: fmt.Errorf("no")}) }, true},
		{"one of another address", func() { r := stranger; r.Addresses = numbered(501).Addresses; c.record(r, true) }, false},
	} {
		x.setup()
		c.k.edit("nft", elements, nil)
		c.sync()
		if c.has(stranger) != x.stays {
			t.Errorf("%s: it stays: %t", x.name, c.has(stranger))
		}
		c.b.set(c.b.name(stranger.Key), nil)
		c.sync()
		if c.has(stranger) {
			t.Errorf("%s: it is there still when its record is gone", x.name)
			c.k.edit("nft", nil, elements)
			c.sync()
		}
	}
	// Between the judgment and the removal the plugin gives the address to another.
	next := numbered(502)
	next.Addresses = stranger.Addresses
	c.k.beforeEdit = func() {
		c.k.beforeEdit = nil
		c.b.write(next)
		c.k.edit("masq", ruleset.Live(next.Attachment, ruleset.Owned), nil)
	}
	c.k.edit("nft", elements, nil)
	c.sync()
	if !c.has(next) || c.k.elements[elementKey{"policy4", "10.88.1.244"}].Comment != next.Identity() {
		t.Error("the elements of a new attachment are removed")
	}
}

// Where two attachments have one address the later has it, and the other one when that
// is gone.
func TestTwoClaims(t *testing.T) {
	c := churning(t, 1)
	second := numbered(9)
	second.Addresses = numbered(0).Addresses
	holder := func() string { return c.k.elements[elementKey{"policy4", "10.88.0.0"}].Comment }
	intent := second
	intent.Ready = false
	c.b.write(intent)
	c.k.edit("masq", ruleset.Live(second.Attachment, ruleset.Owned), ruleset.Live(numbered(0).Attachment, ruleset.Owned))
	if c.sync(); holder() != second.Identity() {
		t.Errorf("%s has it while the later is made", holder())
	}
	c.b.write(second)
	if c.sync(); holder() != second.Identity() {
		t.Errorf("%s has it", holder())
	}
	c.del(second, false)
	if c.sync(); holder() != numbered(0).Identity() {
		t.Errorf("%s has it when the later is gone", holder())
	}
}

// Flows that may have begun while rules were missing are looked for, whoever closed the
// gap: the deletion was notified.
func TestGapThatAnotherClosed(t *testing.T) {
	structural := nft.Transaction{Process: "nft", Structure: true, Exposing: true}
	restored := nft.Transaction{Process: "masq", Structure: true, Exposing: true, Bulk: true}
	for _, x := range []struct {
		name string
		do   func(c churned)
		want int
	}{
		{"flushed, and made again by an ADD", func(c churned) { c.k.transaction(structural); c.k.transaction(restored) }, 3},
		{"the same in notifications that are lost", func(c churned) { c.l.EventsLost() }, 3},
		{"the same beside a large transaction", func(c churned) {
			c.k.generation += 2
			c.k.transaction(nft.Transaction{Process: "iptables"})
			c.l.RequestSync("x", Soon, Changes)
		}, 3},
		{"an element deleted, and added by an ADD", func(c churned) {
			e := ruleset.Live(numbered(1).Attachment, ruleset.Owned)
			c.k.edit("nft", nil, e)
			c.k.edit("masq", e, nil)
		}, 1},
		{"an ADD that makes the table", func(c churned) { c.k.transaction(restored) }, 0},
		{"a set of another program", func(c churned) { c.k.transaction(nft.Transaction{Process: "nft", Structure: true}) }, 0},
		{"another table", func(c churned) { c.k.transaction(nft.Transaction{Process: "nft"}) }, 0},
	} {
		c := churning(t, 3)
		x.do(c)
		if c.sync(); len(c.flows()) != x.want {
			t.Errorf("%s: flows of %q", x.name, c.flows())
		}
		if c.sync(); len(c.flows()) != 0 {
			t.Errorf("%s: once more flows of %q", x.name, c.flows())
		}
	}
}

// Where notifications are missing all is compared; a gap that is not closed by the next
// resync is one too.
func TestMissingTransactions(t *testing.T) {
	c := churning(t, 2)
	full := func() int { return c.l.Stats().FullSyncs }
	before := full()
	c.k.generation++ // not told of
	c.l.sync(t.Context(), time.Now(), request{scope: Generation})
	if full() != before {
		t.Error("a notification that may be on its way is taken for lost")
	}
	c.l.sync(t.Context(), time.Now(), request{scope: Generation})
	if full() != before+1 {
		t.Errorf("compared %d times", full()-before)
	}
	c.l.sync(t.Context(), time.Now(), request{scope: Generation})
	c.l.sync(t.Context(), time.Now(), request{scope: Generation})
	if full() != before+1 {
		t.Errorf("compared %d times", full()-before)
	}
	for i := range maxTransactions + 2 {
		c.k.transaction(nft.Transaction{Process: "iptables"})
		if i == 0 {
			c.l.sync(t.Context(), time.Now(), request{})
		}
	}
	c.sync()
	if full() != before+2 {
		t.Errorf("more transactions than are kept: compared %d times", full()-before)
	}
}

// Many missing elements of a set are added in one transaction, and the flows of all
// attachments are searched.
func TestManyMissing(t *testing.T) {
	c := churning(t, 3*manyMissing)
	c.k.elements = map[elementKey]ruleset.LiveElement{}
	c.k.transaction(nft.Transaction{Process: "nft", Bulk: true})
	edits, sets := c.k.edits, 3 // policy4, invalid4, clamp4-pmtu
	if n := c.sync(); n < 3*manyMissing || c.k.edits != edits+sets || !c.has(numbered(5)) {
		t.Errorf("%d repairs in %d transactions", n, c.k.edits-edits)
	}
	if n := len(c.flows()); n != 3*manyMissing {
		t.Errorf("flows of %d", n)
	}
}

// After a transaction of its own beside which others were not heard, all is compared
// once.
func TestLargeTransactionIsVerified(t *testing.T) {
	c := churning(t, 3)
	c.k.large = true
	c.k.change(nft.Difference{Kind: nft.KindTable, Reason: masq.Missing})
	before := c.l.Stats().FullSyncs
	c.sync()
	if c.k.changes = nil; c.l.pending != (request{}) || c.l.Stats().FullSyncs != before {
		// pending is taken by Run alone
		t.Logf("pending %+v", c.l.pending)
	}
	c.sync()
	c.sync()
	if n := c.l.Stats().FullSyncs - before; n != 1 {
		t.Errorf("compared %d times", n)
	}
}

// What a newer attachment may need is judged by the records of now, a few times, and
// then at the next sync.
func TestConflicts(t *testing.T) {
	c := churning(t, 2)
	refreshed := c.b.refreshed
	c.k.conflicts = 2
	c.k.changeBy("masq", nft.Difference{Kind: nft.KindChain, Reason: masq.Unexpected, Object: "policy-x"})
	c.k.changes = nil
	if c.sync(); c.b.refreshed != refreshed+2 || c.l.last.structure {
		t.Errorf("the records are read %d times", c.b.refreshed-refreshed)
	}
	c.k.conflicts = 2 * conflicts
	c.k.transaction(nft.Transaction{Process: "nft", Structure: true})
	if c.sync(); !c.l.last.structure || c.l.Stats().Problem != "" {
		t.Error("what is left is forgotten, or is a failure")
	}
	c.sync()
	if c.sync(); c.l.last.structure || c.k.conflicts != 0 {
		t.Errorf("%d conflicts left", c.k.conflicts)
	}
}

// A configuration moves attachments of the node's policy to other sets.
func TestConfigurationMovesElements(t *testing.T) {
	k := &kernel{}
	r := numbered(1)
	r.Policy.Node = true
	l, _ := loop(t, k, r)
	node := Node{}
	l.Node = func() Node { return node }
	l.sync(t.Context(), time.Now(), request{})
	clamped := masq.Default()
	clamped.MSSClamp = masq.ClampOff
	clamped.Node = true
	node = Node{Version: 1, Policy: &clamped}
	if _, drifted := l.sync(t.Context(), time.Now(), request{}); drifted {
		t.Error("what is newly desired counts as drift")
	}
	if _, ok := k.elements[elementKey{"clamp4-pmtu", "10.88.0.1"}]; ok {
		t.Error("it is clamped still")
	}
	if _, ok := k.elements[elementKey{"policy4", "10.88.0.1"}]; !ok {
		t.Error("it is not translated any more")
	}
}

// TestPreviousConfigurationHasItsEgressAddresses: a table that another program changed while
// the configuration changed is compared with all that was desired before, so that what is
// newly desired does not count as drift.
func TestPreviousConfigurationHasItsEgressAddresses(t *testing.T) {
	k := &kernel{}
	r := numbered(1)
	r.Policy.Node = true
	l, _ := loop(t, k, r)
	with := masq.Default()
	with.Node = true
	with.SNATAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	without := masq.Default()
	without.Node = true
	node := Node{Version: 1, Policy: &with}
	l.Node = func() Node { return node }
	l.HasAddress = func(netip.Addr) (bool, error) { return true, nil }
	l.sync(t.Context(), time.Now(), request{})
	before := k.applied[len(k.applied)-1].Table.String()
	if !strings.Contains(before, "192.0.2.1") {
		t.Fatalf("the egress address is not in use:\n%s", before)
	}
	n := len(k.applied)
	k.change(nft.Difference{Kind: nft.KindRule, Reason: masq.Missing, Object: "forward/clamp", Parent: "forward"})
	node = Node{Version: 2, Policy: &without}
	l.sync(t.Context(), time.Now(), request{})
	if len(k.applied) < n+2 {
		t.Fatalf("%d comparisons, not one for each configuration", len(k.applied)-n)
	}
	if got := k.applied[n].Table.String(); got != before {
		t.Errorf("compared with\n%s\nnot with\n%s", got, before)
	}
	if got := k.applied[len(k.applied)-1].Table.String(); strings.Contains(got, "192.0.2.1") {
		t.Errorf("the new configuration is not in force:\n%s", got)
	}
}

// A program that publishes a port while the whole table is compared may do so after the
// ports were read and before the generation was.
func TestPortsPublishedDuringAComparison(t *testing.T) {
	k := &kernel{}
	r := numbered(1)
	r.Policy.ToPorts = []masq.PortRange{{First: 20000, Last: 20999}}
	l, _ := loop(t, k, r)
	var published []masq.PortRange
	first := true
	l.Services = func([]masq.PortRange) ([]masq.PortRange, error) {
		was := published
		if first {
			first = false
			published = []masq.PortRange{{First: 20500, Last: 20500}}
			k.transaction(nft.Transaction{Process: "nft", Published: true})
		}
		return was, nil
	}
	l.sync(t.Context(), time.Now(), request{})
	l.sync(t.Context(), time.Now(), request{})
	if p := l.Stats().Problem; p != "" {
		t.Fatal(p)
	}
	if !slices.Equal(l.last.egress.have.Reserved, published) {
		t.Errorf("reserved: %v; want %v", l.last.egress.have.Reserved, published)
	}
}
