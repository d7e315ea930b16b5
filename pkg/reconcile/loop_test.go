package reconcile

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

var (
	tableMissing   = nft.Difference{Kind: nft.KindTable, Reason: masq.Missing, Object: "inet masq"}
	ruleMissing    = nft.Difference{Kind: nft.KindRule, Reason: masq.Missing, Parent: "postrouting", Object: "policy4"}
	ruleUnexpected = nft.Difference{Kind: nft.KindRule, Reason: masq.Unexpected, Parent: "postrouting"}
	setUnexpected  = nft.Difference{Kind: nft.KindSet, Reason: masq.Unexpected, Object: "theirs"}
)

// syncScope runs a sync, and reports whether it repaired something.
func (l *Loop) syncScope(t *testing.T, s Scope) (repaired bool) {
	t.Helper()
	_, repaired = l.sync(t.Context(), time.Now(), request{scope: s})
	return repaired
}

// TestDepsAreRequired refuses a Loop and a Rebuilder of which any dependency is missing.
func TestDepsAreRequired(t *testing.T) {
	for _, tt := range []struct {
		deps     interface{ Validate() error }
		optional []string
	}{
		{Deps{}, []string{"CleanupGrace", "PreviousEgress", "Synced"}},
		{RebuildDeps{}, []string{"Boot", "NodeNetNS"}},
	} {
		of, err := reflect.TypeOf(tt.deps), tt.deps.Validate()
		for f := range of.Fields() {
			field := f.Name
			if slices.Contains(tt.optional, field) {
				continue
			}
			if err == nil || !strings.Contains(err.Error(), "reconcile."+of.Name()+": "+field+" is ") {
				t.Errorf("%s without %s: %v", of.Name(), field, err)
			}
		}
	}
	if l, err := New(Deps{}); l != nil || err == nil {
		t.Errorf("New returned %v, %v", l, err)
	}
	if r, err := NewRebuilder(RebuildDeps{}); r != nil || err == nil {
		t.Errorf("NewRebuilder returned %v, %v", r, err)
	}
}

// TestFlowsAreSearched deletes flows of new attachments, and of all after a difference that
// may have let packets pass untranslated.
func TestFlowsAreSearched(t *testing.T) {
	k := &fakeKernel{}
	l := newLoop(t, k, numbered(1), numbered(2))
	for _, s := range []struct {
		name    string
		changes []nft.Difference
		flows   int // 0: no search
	}{
		{"the first sync", nil, 2},
		{"no change", nil, 0},
		{"an unexpected set", []nft.Difference{setUnexpected}, 0},
		{"a missing rule", []nft.Difference{ruleMissing}, 2},
		{"an unexpected rule before ours", []nft.Difference{ruleUnexpected}, 2},
	} {
		k.deleted()
		k.change(s.changes...)
		if repaired := l.syncScope(t, Changes); repaired != (len(s.changes) > 0) {
			t.Errorf("%s: repaired %t", s.name, repaired)
		}
		if flows, searches := k.deleted(); len(flows) != s.flows || searches != min(s.flows, 1) {
			t.Errorf("%s: deleted flows of %v in %d searches, want %d", s.name, flows, searches, s.flows)
		}
	}
	if got := l.Stats().Repairs; got["set"] != 1 || got["rule"] != 2 {
		t.Errorf("repairs: %v", got)
	}
}

// TestFailedSearchIsRepeated: if a search after a repair fails, the next sync repeats it
// although it finds no difference.
func TestFailedSearchIsRepeated(t *testing.T) {
	k := &fakeKernel{}
	l := newLoop(t, k, record("a"))
	l.syncScope(t, Changes)
	k.deleted()
	k.flowsErr = map[conntrack.Status]error{0: errors.New("no")}
	k.change(tableMissing)
	l.syncScope(t, Changes)
	k.changes, k.flowsErr = nil, nil
	l.syncScope(t, Changes)
	l.syncScope(t, Changes)
	if flows, searches := k.deleted(); len(flows) != 1 || searches != 1 {
		t.Errorf("deleted flows of %v in %d searches", flows, searches)
	}
}

// TestFailureIsReported: a failed sync is counted and reported until one succeeds.
func TestFailureIsReported(t *testing.T) {
	k := &fakeKernel{err: errors.New("no")}
	l := newLoop(t, k, record("a"))
	if l.syncScope(t, Changes) {
		t.Error("a failure counts as a repair")
	}
	if s := l.Stats(); s.Failures != 1 || s.Problem == "" || !s.LastSync.IsZero() {
		t.Errorf("after the failure: %+v", s)
	}
	k.err = nil
	l.syncScope(t, Changes)
	if s := l.Stats(); s.Problem != "" || s.LastSync.IsZero() {
		t.Errorf("after the success: %+v", s)
	}
}

// TestConfigurationIsNoDrift: what a changed configuration desires is not counted as a
// repair, and no flows are deleted. A change by another program is counted, also if both
// come at once.
func TestConfigurationIsNoDrift(t *testing.T) {
	k := &fakeKernel{}
	node := NodeConfig{}
	l := newLoopOf(t, k, func(d *Deps) { d.Node = func() NodeConfig { return node } }, record("a"))
	l.syncScope(t, Changes)
	for _, step := range []struct {
		name     string
		change   func()
		compared int
		repaired bool
	}{
		{"a configuration", func() { node.Version++; k.changes = []nft.Difference{ruleMissing} }, 1, false},
		{"nothing", func() {}, 0, false},
		{"another program", func() { k.change(ruleMissing) }, 1, true},
		{"both", func() { node.Version++; k.change(ruleMissing) }, 2, true},
		{"a configuration, and another table", func() { node.Version++; k.change() }, 1, false},
	} {
		step.change()
		before := k.comparisons()
		k.deleted()
		repaired := l.syncScope(t, Changes)
		flows, _ := k.deleted()
		if compared := k.comparisons() - before; repaired != step.repaired || compared != step.compared || (len(flows) > 0) != step.repaired {
			t.Errorf("%s: repaired %t, %d comparisons, deleted flows of %v", step.name, repaired, compared, flows)
		}
	}
	if n := l.Stats().Repairs["rule"]; n != 2 {
		t.Errorf("%d repairs are counted", n)
	}
}

// TestMissingEgressOfUnusedFamily: a missing egress address of a family that no source of
// the policy has drops no flows. It counts once an attachment or sourceCIDRs have the
// family.
func TestMissingEgressOfUnusedFamily(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
	k := &fakeKernel{lacks: []netip.Addr{six}}
	r := record("a")
	r.Policy.SNATAddresses = []netip.Addr{four, six}
	l := newLoop(t, k, r)
	state := func(name string, dropped, unused bool) {
		t.Helper()
		l.syncScope(t, Forwarding)
		want := []ruleset.MissingEgress{{Policy: r.Policy.ID(), Address: six, Dropped: dropped, Unused: unused}}
		if got := l.Stats().MissingEgress; !slices.Equal(got, want) {
			t.Errorf("%s: missing: %+v, not %+v", name, got, want)
		}
	}
	state("IPv4 alone", false, true)
	dual := record("b")
	dual.Policy, dual.Addresses = r.Policy, []netip.Addr{netip.MustParseAddr("10.88.0.6"), netip.MustParseAddr("fd00::6")}
	l.deps.Records.write(t, dual)
	state("an attachment has IPv6", true, false)
}

// TestRecordAfterEgressLookup: the egress addresses of a record that comes while a sync runs are
// not missing. A sync that reads the record looks them up, and otherwise the next sync.
func TestRecordAfterEgressLookup(t *testing.T) {
	late := numbered(2)
	late.Policy.SNATAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.7")}
	inUse := func(k *fakeKernel) bool {
		return strings.Contains(k.structures[len(k.structures)-1].Table.String(), "192.0.2.7")
	}
	synced := func(l *Loop) {
		t.Helper()
		l.syncScope(t, Changes)
		if m := l.Stats().MissingEgress; len(m) != 0 {
			t.Errorf("missing: %+v", m)
		}
	}

	k, first := &fakeKernel{}, true
	var l *Loop
	l = newLoopOf(t, k, func(d *Deps) {
		d.ServicePorts = func([]masq.PortRange) ([]masq.PortRange, error) { // after the addresses
			if first {
				first = false
				l.deps.Records.later(t, late)
			}
			return nil, nil
		}
	}, numbered(1))
	synced(l)
	if !inUse(k) {
		t.Errorf("the sync read the record, and its address is not in use")
	}

	k = &fakeKernel{}
	l = newLoop(t, k, numbered(1))
	k.onSync = func(n int) {
		if n == 1 {
			l.deps.Records.write(t, late)
		}
	}
	synced(l)
	synced(l)
	if !inUse(k) {
		t.Errorf("the address is not in use after the next sync")
	}
}

// TestFlowsOfRemovedEgress: the flows of addresses that left the node, and of addresses
// that no policy names any more, are deleted.
func TestFlowsOfRemovedEgress(t *testing.T) {
	addrs := func(list ...string) []netip.Addr {
		var out []netip.Addr
		for _, s := range list {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	k := &fakeKernel{}
	lacks := func(more ...string) { k.lacks = addrs(append(more, "192.0.2.1", "192.0.2.9")...) }
	lacks()
	r := record("a")
	r.Policy.SNATAddresses = addrs("192.0.2.2", "192.0.2.7")
	l := newLoopOf(t, k, func(d *Deps) { d.PreviousEgress = addrs("192.0.2.9") }, r)
	for _, egress := range addrs("192.0.2.1", "192.0.2.2", "192.0.2.7", "192.0.2.9") {
		f := conntrack.Flow{Status: conntrack.SrcNAT}
		f.Original.Src, f.Reply.Dst = r.Addresses[0], egress
		k.flows = append(k.flows, f)
	}
	sync := func(name, want string) {
		t.Helper()
		k.searches = nil
		l.syncScope(t, Forwarding)
		var got []string
		for _, s := range k.searches {
			for _, f := range s.flows {
				if s.status == conntrack.SrcNAT {
					got = append(got, f.Reply.Dst.String())
				}
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: deleted flows of %v, want %q", name, got, want)
		}
	}
	sync("an address of the previous masqd", "192.0.2.9")
	sync("no change", "")
	l.AddressesRemoved(addrs("192.0.2.1"))
	l.takeRequest(time.Now())
	sync("an address is removed", "192.0.2.1")
	lacks("192.0.2.7")
	sync("an address that a policy names is removed", "192.0.2.7")
	sync("it is still missing", "")
	if m := l.Stats().MissingEgress; len(m) != 1 || m[0].Address != addrs("192.0.2.7")[0] || m[0].Dropped {
		t.Errorf("missing: %+v", m)
	}
	lacks("192.0.2.7", "192.0.2.2")
	sync("the other one is removed too", "192.0.2.2")
	if m := l.Stats().MissingEgress; len(m) != 2 || !m[0].Dropped {
		t.Errorf("missing: %+v", m)
	}
	lacks()
	sync("both are present again", "")
	if m := l.Stats().MissingEgress; len(m) != 0 {
		t.Errorf("missing: %+v", m)
	}
	lacks("192.0.2.7")
	sync("one is removed again", "192.0.2.7")
	routed := record("a")
	routed.Policy.SNATAddresses = addrs("192.0.2.2", "192.0.2.7")
	routed.Policy.SNATRouted = addrs("192.0.2.7")
	l.deps.Records.write(t, routed)
	l.AddressesRemoved(addrs("192.0.2.7"))
	l.takeRequest(time.Now())
	sync("it is declared as routed to the node", "")
	one := record("a")
	one.Policy.SNATAddresses = addrs("192.0.2.2")
	l.deps.Records.write(t, one)
	sync("no policy names it any more", "192.0.2.7")
	if n := l.Stats().EgressRemovedFlows; n != 6 {
		t.Errorf("%d flows are counted", n)
	}
	k.flowsErr = map[conntrack.Status]error{conntrack.SrcNAT: errors.New("no")}
	lacks("192.0.2.7", "192.0.2.2")
	l.deps.Records.write(t, record("a"))
	before := l.Stats().UntranslatedFlows
	l.last.search.all = true
	sync("a failure", "")
	if n := l.Stats().UntranslatedFlows - before; n != 1 {
		t.Errorf("%d untranslated flows were deleted before the failure", n)
	}
	k.flowsErr = nil
	sync("after the failure", "192.0.2.2")
}

// TestForwardingIsRepaired repairs forwarding for the links that the plugin made, and not
// for links of other plugins.
func TestForwardingIsRepaired(t *testing.T) {
	k := &fakeKernel{forwarding: []string{"net.ipv4.conf.up0.forwarding=1"}}
	l := newLoop(t, k, record("a"))
	l.syncScope(t, Changes)
	if !l.syncScope(t, Forwarding) || l.Stats().Repairs[string(forwarding)] != 1 {
		t.Errorf("not counted: %+v", l.Stats())
	}
	chained := record("a")
	chained.Chained = true
	l = newLoop(t, k, chained)
	l.syncScope(t, Changes)
	if l.syncScope(t, Forwarding) {
		t.Error("forwarding of another plugin's links is repaired")
	}
}

// TestFailedSyncsAreRetried: a failed sync is repeated without another event.
func TestFailedSyncsAreRetried(t *testing.T) {
	k := &fakeKernel{err: errors.New("no"), changes: []nft.Difference{tableMissing}}
	l := newLoop(t, k, record("a"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() { l.Run(ctx); close(ended) }()
	wait := func(what string, f func(Stats) bool) {
		t.Helper()
		for started := time.Now(); !f(l.Stats()); runtime.Gosched() {
			if time.Since(started) > time.Minute {
				t.Fatalf("not within a minute: %s: %+v", what, l.Stats())
			}
		}
	}
	wait("three syncs failed", func(s Stats) bool { return s.Failures >= 3 && s.Drift == 1 && s.Repairs["table"] == 0 })
	k.mu.Lock()
	k.err = nil
	k.mu.Unlock()
	wait("the table is repaired", func(s Stats) bool { return s.Problem == "" && s.Drift == 0 && s.Repairs["table"] == 1 })
	cancel()
	<-ended
}

// TestRepairIsCountedDespiteAFailure counts a repair although the search for flows failed.
func TestRepairIsCountedDespiteAFailure(t *testing.T) {
	k := &fakeKernel{}
	l := newLoop(t, k, record("a"))
	l.syncScope(t, Changes)
	k.flowsErr = map[conntrack.Status]error{0: errors.New("no")}
	k.change(tableMissing)
	if !l.syncScope(t, Changes) {
		t.Error("the repair is not counted")
	}
	if s := l.Stats(); s.Repairs["table"] != 1 || s.Drift != 0 || s.Failures != 1 || s.Problem == "" {
		t.Errorf("%+v", s)
	}
}

// running is a Loop that runs in a bubble of synctest.
type running struct {
	t   *testing.T
	k   *fakeKernel
	l   *Loop
	end func()
}

// run starts a Loop, and waits until its first sync has ended.
func (k *fakeKernel) run(t *testing.T, l *Loop) running {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { l.Run(ctx); close(ended) }()
	time.Sleep(2 * k.busy)
	return running{t, k, l, func() { cancel(); <-ended }}
}

// next has another program change something, and returns how long it took until the sync
// of that change had ended.
func (x running) next(u Urgency, change nft.Difference) time.Duration {
	x.t.Helper()
	before, started := x.k.comparisons(), time.Now()
	process := "nft"
	if u == Soon {
		process = "masq" // its changes are not urgent
	}
	x.k.changeBy(process, change)
	x.l.RequestSync("rules", u, Changes)
	for x.k.comparisons() == before {
		if time.Since(started) > time.Minute {
			x.t.Fatal("no sync within a minute")
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(started)
}

// TestRepairLoopIsBounded: if another program keeps changing the table, repairs come at
// once while the budget lasts, and then after pauses. It is reported once.
func TestRepairLoopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &fakeKernel{busy: 20 * time.Millisecond}
		l := newLoop(t, k, record("a"))
		k.onSync = func(n int) {
			if n == 25 {
				l.budget.debt = 2 * workBudget // as after many more
			}
		}
		x := k.run(t, l)
		atOnce, paused := 0, 0
		for k.comparisons() < 40 {
			if x.next(Urgent, tableMissing) < pauseFactor*k.busy {
				atOnce++
			} else {
				paused++
			}
		}
		x.end()
		if atOnce < repairLoopLength || paused < 10 {
			t.Errorf("%d repairs came at once, and %d after a pause", atOnce, paused)
		}
		if n := l.Stats().RepairLoops; n != 1 {
			t.Errorf("%d repair loops are counted", n)
		}
	})
}

// TestUrgencyEndsPause: a sync that is not urgent waits for the end of the pause, an urgent
// one does not while the budget lasts, and an interactive one never does.
func TestUrgencyEndsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &fakeKernel{busy: 30 * time.Millisecond}
		l := newLoop(t, k, record("a"))
		x := k.run(t, l)
		if took := x.next(Soon, setUnexpected); took < pauseFactor*k.busy {
			t.Errorf("a sync that is not urgent took %s, without a pause", took)
		}
		if took := x.next(Urgent, setUnexpected); took > pauseFactor*k.busy {
			t.Errorf("an urgent sync took %s", took)
		}
		k.onSync = func(int) { l.budget.debt = 2 * workBudget }
		x.next(Soon, setUnexpected)
		if took := x.next(Urgent, setUnexpected); took < pauseFactor*k.busy {
			t.Errorf("an urgent sync beyond the budget took %s, without a pause", took)
		}
		if took := x.next(Interactive, setUnexpected); took > pauseFactor*k.busy {
			t.Errorf("an interactive sync took %s", took)
		}
		x.end()
	})
}
