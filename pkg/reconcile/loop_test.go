package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// asked is whose flows a loop looked at.
type asked struct {
	untranslated []Whose
	stranded     [][]netip.Addr
}

func loop(t *testing.T, k *kernel, records ...store.Record) (*Loop, *asked) {
	t.Helper()
	a := &asked{}
	l := &Loop{
		Records:    newBook(t, records...),
		Node:       func() Node { return Node{} },
		Rules:      k,
		Forward:    k.forward,
		HasAddress: func(a netip.Addr) (bool, error) { return !slices.Contains(k.lacks, a), nil },
		Untranslated: func(_ context.Context, w Whose) (int, error) {
			a.untranslated = append(a.untranslated, w)
			return 0, nil
		},
		EgressRemoved: func(_ context.Context, _ Whose, gone []netip.Addr) (int, error) {
			a.stranded = append(a.stranded, gone)
			return 1, nil
		},
		Reload:  func() error { return nil },
		Cleanup: &Cleanup{},
		Resync:  time.Hour,
		Log:     slog.New(slog.DiscardHandler),
	}
	l.init()
	k.loop, k.generation, k.elements = l, max(k.generation, 1), map[elementKey]ruleset.LiveElement{}
	k.fill(l.complete(Node{}))
	return l, a
}

func TestLookForgetsFlowsOfNewcomersAndOfGaps(t *testing.T) {
	k := &kernel{}
	l, a := loop(t, k, record("a"), record("b"))
	steps := []struct {
		name    string
		changes []nft.Difference
		asked   int // attachments whose flows are looked at; 0: none are
	}{
		{"at first all are new", nil, 2},
		{"nothing happened", nil, 0},
		{"an unexpected set was found", []nft.Difference{{Kind: nft.KindSet, Reason: masq.Unexpected, Object: "theirs"}}, 0},
		{"something was missing", []nft.Difference{{Kind: nft.KindRule, Reason: masq.Missing, Parent: "postrouting", Object: "policy4"}}, 2},
		{"an unexpected rule came first", []nft.Difference{{Kind: nft.KindRule, Reason: masq.Unexpected, Parent: "postrouting"}}, 2},
	}
	for _, s := range steps {
		a.untranslated = nil
		k.change(s.changes...)
		_, drifted := l.sync(t.Context(), time.Now(), request{})
		if drifted != (len(s.changes) > 0) {
			t.Errorf("%s: drifted %t", s.name, drifted)
		}
		if s.asked == 0 && len(a.untranslated) != 0 || s.asked > 0 && (len(a.untranslated) != 1 || len(a.untranslated[0].Origins) != s.asked) {
			t.Errorf("%s: asked for %v, not %d", s.name, a.untranslated, s.asked)
		}
	}
	if got := l.Stats().Repairs; got["set"] != 1 || got["rule"] != 2 {
		t.Errorf("counted %v", got)
	}
}

// What could not be done after a repair is done after the next look, though that
// finds nothing.
func TestFlowsOfTheGapAreNotForgotten(t *testing.T) {
	k := &kernel{}
	l, _ := loop(t, k, record("a"))
	l.sync(t.Context(), time.Now(), request{})
	var asked []int
	fail := errors.New("no")
	l.Untranslated = func(_ context.Context, w Whose) (int, error) {
		asked = append(asked, len(w.Origins))
		return 0, fail
	}
	k.change(nft.Difference{Kind: nft.KindTable, Reason: masq.Missing, Object: "inet masq"})
	l.sync(t.Context(), time.Now(), request{})
	k.changes, fail = nil, nil
	l.sync(t.Context(), time.Now(), request{})
	l.sync(t.Context(), time.Now(), request{})
	if len(asked) != 2 || asked[0] != 1 || asked[1] != 1 {
		t.Errorf("asked for the flows of %v attachments", asked)
	}
}

func TestFailureIsSaidAndKept(t *testing.T) {
	k := &kernel{err: errors.New("no")}
	l, _ := loop(t, k, record("a"))
	if _, repaired := l.sync(t.Context(), time.Now(), request{}); repaired {
		t.Error("a failure counts as a repair")
	}
	if s := l.Stats(); s.Failures != 1 || s.Problem == "" || !s.LastSync.IsZero() {
		t.Errorf("stats %+v", s)
	}
	k.err = nil
	l.sync(t.Context(), time.Now(), request{})
	if s := l.Stats(); s.Problem != "" || s.LastSync.IsZero() {
		t.Errorf("stats %+v", s)
	}
}

// What a changed configuration asks for is no drift, and the flows that began under
// the one before go on. What somebody else took away is, though both come at once.
func TestWhatIsAskedForIsNoDrift(t *testing.T) {
	k := &kernel{}
	l, a := loop(t, k, record("a"))
	node := Node{}
	l.Node = func() Node { return node }
	l.sync(t.Context(), time.Now(), request{})
	rule := nft.Difference{Kind: nft.KindRule, Reason: masq.Missing, Parent: "postrouting", Object: "policy4"}
	for _, step := range []struct {
		name     string
		change   func()
		compared int
		drifted  bool
	}{
		{"a configuration", func() { node.Version++; k.changes = []nft.Difference{rule} }, 1, false},
		{"nothing", func() {}, 0, false},
		{"somebody", func() { k.change(rule) }, 1, true},
		{"both", func() { node.Version++; k.change(rule) }, 2, true},
		{"a configuration, and another table", func() { node.Version++; k.change() }, 1, false},
	} {
		step.change()
		before := k.looks()
		a.untranslated = nil
		_, drifted := l.sync(t.Context(), time.Now(), request{})
		if drifted != step.drifted || k.looks()-before != step.compared || (len(a.untranslated) > 0) != step.drifted {
			t.Errorf("%s: drifted %t, %d comparisons, flows of %d", step.name, drifted, k.looks()-before, len(a.untranslated))
		}
	}
	if n := l.Stats().Repairs["rule"]; n != 2 {
		t.Errorf("%d repairs are counted", n)
	}
}

// A missing egress address of a family that no source of the policy has drops no flows:
// it counts as soon as an attachment or sourceCIDRs have the family.
func TestMissingEgressOfUnusedFamily(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
	k := &kernel{lacks: []netip.Addr{six}}
	r := record("a")
	r.Policy.SNATAddresses = []netip.Addr{four, six}
	l, _ := loop(t, k, r)
	state := func(name string, dropped, unused bool) {
		t.Helper()
		l.sync(t.Context(), time.Now(), request{scope: Forwarding})
		want := []ruleset.MissingEgress{{Policy: r.Policy.ID(), Address: six, Dropped: dropped, Unused: unused}}
		if got := l.Stats().MissingEgress; !slices.Equal(got, want) {
			t.Errorf("%s: missing: %+v, not %+v", name, got, want)
		}
	}
	state("IPv4 alone", false, true)
	dual := record("b")
	dual.Policy, dual.Addresses = r.Policy, []netip.Addr{netip.MustParseAddr("10.88.0.6"), netip.MustParseAddr("fd00::6")}
	l.Records.(*book).write(dual)
	state("an attachment has IPv6", true, false)
}

// Addresses that left the node, and those that policies no longer name, are looked
// for in flows.
func TestFlowsOfRemovedEgressAddresses(t *testing.T) {
	addr := func(list ...string) []netip.Addr {
		var out []netip.Addr
		for _, s := range list {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	k := &kernel{}
	r := record("a")
	r.Policy.SNATAddresses = addr("192.0.2.2", "192.0.2.7")
	l, a := loop(t, k, r)
	all := l.Records.(*book)
	l.Expect(addr("192.0.2.9"))
	look := func(name string, want ...netip.Addr) {
		t.Helper()
		a.stranded = nil
		l.sync(t.Context(), time.Now(), request{scope: Forwarding})
		if len(want) == 0 && len(a.stranded) != 0 || len(want) > 0 && (len(a.stranded) != 1 || !slices.Equal(a.stranded[0], want)) {
			t.Errorf("%s: asked for %v, not %v", name, a.stranded, want)
		}
	}
	look("an earlier daemon's", addr("192.0.2.9")...)
	look("nothing")
	l.last.gone = addr("192.0.2.1")
	look("an address is gone", addr("192.0.2.1")...)
	k.lacks = addr("192.0.2.7")
	look("one that a policy names is gone", addr("192.0.2.7")...)
	look("it is still gone")
	if m := l.Stats().MissingEgress; len(m) != 1 || m[0].Address != addr("192.0.2.7")[0] || m[0].Dropped {
		t.Errorf("missing: %+v", m)
	}
	k.lacks = addr("192.0.2.7", "192.0.2.2")
	look("the other one is gone too", addr("192.0.2.2")...)
	if m := l.Stats().MissingEgress; len(m) != 2 || !m[0].Dropped {
		t.Errorf("missing: %+v", m)
	}
	k.lacks = nil
	look("both are back")
	if m := l.Stats().MissingEgress; len(m) != 0 {
		t.Errorf("missing: %+v", m)
	}
	k.lacks = addr("192.0.2.7")
	look("it is gone again", addr("192.0.2.7")...)
	declared := record("a")
	declared.Policy.SNATAddresses = addr("192.0.2.2", "192.0.2.7")
	declared.Policy.SNATRouted = addr("192.0.2.7")
	all.write(declared)
	l.last.gone = addr("192.0.2.7")
	look("it is declared as routed to the node")
	next := record("a")
	next.Policy.SNATAddresses = addr("192.0.2.2")
	all.write(next)
	look("a policy names it no longer", addr("192.0.2.7")...)
	if n := l.Stats().EgressRemovedFlows; n != 6 {
		t.Errorf("counted %d", n)
	}
	fail := errors.New("no")
	stranded := l.EgressRemoved
	l.EgressRemoved = func(context.Context, Whose, []netip.Addr) (int, error) { return 0, fail }
	all.write(record("a"))
	look("failing")
	l.Untranslated = func(context.Context, Whose) (int, error) { return 3, nil }
	l.owesAll()
	look("flows without translation are deleted first")
	if n := l.Stats().UntranslatedFlows; n != 3 {
		t.Errorf("%d flows without translation are counted, not 3", n)
	}
	l.EgressRemoved = stranded
	look("what failed is still to be done", addr("192.0.2.2")...)
}

func TestForwardingIsMended(t *testing.T) {
	k := &kernel{put: []string{"net.ipv4.conf.up0.forwarding=1"}}
	l, _ := loop(t, k, record("a"))
	l.sync(t.Context(), time.Now(), request{})
	if _, drifted := l.sync(t.Context(), time.Now(), request{scope: Forwarding}); !drifted || l.Stats().Repairs[string(forwarding)] != 1 {
		t.Errorf("not counted: %+v", l.Stats())
	}
	chained := record("a")
	chained.Chained = true
	l, _ = loop(t, k, chained)
	l.sync(t.Context(), time.Now(), request{})
	if _, drifted := l.sync(t.Context(), time.Now(), request{scope: Forwarding}); drifted {
		t.Error("what others wired is mended")
	}
}

// What failed is tried again, without another event.
func TestFailuresAreRetried(t *testing.T) {
	k := &kernel{err: errors.New("no"), changes: []nft.Difference{{Kind: nft.KindTable, Reason: masq.Missing, Object: "inet masq"}}}
	l, _ := loop(t, k, record("a"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() { l.Run(ctx); close(ended) }()
	wait := func(what string, f func(Stats) bool) {
		t.Helper()
		for begun := time.Now(); !f(l.Stats()); runtime.Gosched() {
			if time.Since(begun) > time.Minute {
				t.Fatalf("it never came to be that %s: %+v", what, l.Stats())
			}
		}
	}
	wait("three looks failed", func(s Stats) bool { return s.Failures >= 3 && s.Drift == 1 && s.Repairs["table"] == 0 })
	k.mu.Lock()
	k.err = nil
	k.mu.Unlock()
	wait("it is repaired", func(s Stats) bool { return s.Problem == "" && s.Drift == 0 && s.Repairs["table"] == 1 })
	cancel()
	<-ended
}

// A repair counts and is said although flows could not be looked after.
func TestRepairBesideAFailure(t *testing.T) {
	k := &kernel{}
	l, _ := loop(t, k, record("a"))
	l.sync(t.Context(), time.Now(), request{})
	l.Untranslated = func(context.Context, Whose) (int, error) { return 0, errors.New("no") }
	k.change(nft.Difference{Kind: nft.KindTable, Reason: masq.Missing, Object: "inet masq"})
	if _, drifted := l.sync(t.Context(), time.Now(), request{}); !drifted {
		t.Error("it is no repair")
	}
	if s := l.Stats(); s.Repairs["table"] != 1 || s.Drift != 0 || s.Failures != 1 || s.Problem == "" {
		t.Errorf("%+v", s)
	}
}

// However many changes come, looks keep their pace: at once while there is a budget
// for it, and in the long run a fifth of a core.
func TestStormIsBoundedAndSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kernel{busy: 20 * time.Millisecond}
		l, _ := loop(t, k, record("a"))
		k.compared = func(n int) {
			if n == 25 {
				l.budget.debt = 2 * burst // as after many more
			}
		}
		x := k.run(t, l)
		soon, late := 0, 0
		for k.looks() < 40 {
			if x.next(Urgent, nft.Difference{Kind: nft.KindTable, Reason: masq.Missing, Object: "inet masq"}) < restOf*k.busy {
				soon++
			} else {
				late++
			}
		}
		x.end()
		if soon < stormAfter || late < 10 {
			t.Errorf("%d repairs came without a rest, and %d after one", soon, late)
		}
		if l.Stats().RepairLoops != 1 {
			t.Errorf("%d storms are seen", l.Stats().RepairLoops)
		}
	})
}

// running is a loop at work, in a time that goes on only while everybody waits.
type running struct {
	t   *testing.T
	k   *kernel
	l   *Loop
	end func()
}

// run begins, and waits until the first look is over.
func (k *kernel) run(t *testing.T, l *Loop) running {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { l.Run(ctx); close(ended) }()
	time.Sleep(2 * k.busy)
	return running{t, k, l, func() { cancel(); <-ended }}
}

// next changes something and returns how long it took until the look for it was over.
func (x running) next(u Urgency, changes ...nft.Difference) time.Duration {
	x.t.Helper()
	before, begun := x.k.looks(), time.Now()
	process := "nft"
	if u == Soon {
		process = "masq" // not urgent
	}
	if len(changes) == 0 {
		changes = []nft.Difference{{Kind: nft.KindSet, Reason: masq.Unexpected, Object: "theirs"}}
	}
	x.k.changeBy(process, changes...)
	x.l.RequestSync("rules", u, Changes)
	for x.k.looks() == before {
		if time.Since(begun) > time.Minute {
			x.t.Fatal("no look")
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(begun)
}

func TestBudget(t *testing.T) {
	var b budget
	now := time.Unix(0, 0)
	if !b.left(now) {
		t.Error("nothing is left at the beginning")
	}
	b.spend(now, burst-time.Millisecond)
	if !b.left(now) {
		t.Error("nothing is left before the end")
	}
	b.spend(now, 2*time.Millisecond)
	if b.left(now) {
		t.Error("it has no end")
	}
	if later := now.Add((restOf + 1) * 2 * time.Millisecond); !b.left(later) {
		t.Error("a rest does not count")
	}
	if b.owes(now.Add(time.Hour)) != 0 {
		t.Error("a rest counts for more than the work before it")
	}
}

// What is not urgent waits, and what is urgent does not wait for it.
func TestUrgentEventsEndARest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kernel{busy: 30 * time.Millisecond}
		l, _ := loop(t, k, record("a"))
		x := k.run(t, l)
		if calm := x.next(Soon); calm < restOf*k.busy {
			t.Errorf("a look after %s, without a rest", calm)
		}
		if urgent := x.next(Urgent); urgent > restOf*k.busy {
			t.Errorf("an urgent look after %s", urgent)
		}
		k.compared = func(int) { l.budget.debt = 2 * burst }
		x.next(Soon)
		if late := x.next(Urgent); late < restOf*k.busy {
			t.Errorf("an urgent look after %s, beyond the budget", late)
		}
		if asked := x.next(Interactive); asked > restOf*k.busy {
			t.Errorf("a look that was asked for after %s", asked)
		}
		x.end()
	})
}
