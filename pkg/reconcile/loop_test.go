package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// kernel stands for the real one, beneath the loop.
type kernel struct {
	mu      sync.Mutex
	changes []nft.Change // what the next Apply finds
	err     error
	applied []ruleset.Table
	beside  []ruleset.Table
}

func (k *kernel) apply(want, beside ruleset.Table) ([]nft.Change, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.applied, k.beside = append(k.applied, want), append(k.beside, beside)
	return k.changes, k.err
}

func (k *kernel) looks() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.applied)
}

func loop(t *testing.T, k *kernel, records ...store.Record) (*Loop, *[]int) {
	t.Helper()
	forgotten := &[]int{}
	l := &Loop{
		Records: func() ([]store.Record, error) { return records, nil },
		Node:    func() Node { return Node{} },
		Apply:   k.apply,
		Forget: func(_ context.Context, all []masq.Attachment) (int, error) {
			*forgotten = append(*forgotten, len(all))
			return 0, nil
		},
		Reload: func() error { return nil },
		Sweep:  &Sweep{},
		Resync: time.Hour,
		Log:    slog.New(slog.DiscardHandler),
	}
	l.init()
	return l, forgotten
}

func TestLookForgetsFlowsOfNewcomersAndOfGaps(t *testing.T) {
	k := &kernel{}
	l, forgotten := loop(t, k, record("a"), record("b"))
	steps := []struct {
		name    string
		changes []nft.Change
		asked   int // attachments whose flows are looked at; 0: none are
	}{
		{"at first all are new", nil, 2},
		{"nothing happened", nil, 0},
		{"something foreign was there", []nft.Change{{Kind: "element", Name: "policy4 1.1.1.1", Found: "foreign"}}, 0},
		{"something was missing", []nft.Change{{Kind: "element", Name: "policy4 10.88.0.5", Found: "missing"}}, 2},
		{"a foreign rule came first", []nft.Change{{Kind: "rule", Name: `postrouting ""`, Found: "foreign, handle 5"}}, 2},
	}
	for _, s := range steps {
		*forgotten = nil
		k.changes = s.changes
		repaired := l.look(t.Context(), time.Now())
		if repaired != (len(s.changes) > 0) {
			t.Errorf("%s: repaired %t", s.name, repaired)
		}
		if s.asked == 0 && len(*forgotten) != 0 || s.asked > 0 && (len(*forgotten) != 1 || (*forgotten)[0] != s.asked) {
			t.Errorf("%s: asked for %v, not %d", s.name, *forgotten, s.asked)
		}
	}
	if got := l.Stats().Repairs; got["element"] != 2 || got["rule"] != 1 {
		t.Errorf("counted %v", got)
	}
}

// What could not be done after a repair is done after the next look, though that
// finds nothing.
func TestFlowsOfTheGapAreNotForgotten(t *testing.T) {
	k := &kernel{}
	l, _ := loop(t, k, record("a"))
	l.look(t.Context(), time.Now())
	var asked []int
	fail := errors.New("no")
	l.Forget = func(_ context.Context, all []masq.Attachment) (int, error) {
		asked = append(asked, len(all))
		return 0, fail
	}
	k.changes = []nft.Change{{Kind: "table", Name: "inet masq", Found: "missing"}}
	l.look(t.Context(), time.Now())
	k.changes, fail = nil, nil
	l.look(t.Context(), time.Now())
	l.look(t.Context(), time.Now())
	if len(asked) != 2 || asked[0] != 1 || asked[1] != 1 {
		t.Errorf("asked for the flows of %v attachments", asked)
	}
}

// What the plugin is adding or removing right now is neither put back nor taken
// away.
func TestLookLeavesWhatMoves(t *testing.T) {
	k := &kernel{}
	moving := record("moving")
	moving.Ready = false
	l, _ := loop(t, k, record("settled"), moving)
	l.look(t.Context(), time.Now())
	elements := func(table ruleset.Table) (n int) {
		for _, s := range table.Sets {
			if s.Live {
				n += len(s.Elements)
			}
		}
		return n
	}
	all := ruleset.For([]masq.Attachment{record("settled").Attachment}, ruleset.Sources{})
	if got := elements(k.applied[0]); got == 0 || got != elements(all) {
		t.Errorf("%d elements are wanted, not %d", got, elements(all))
	}
	if elements(k.beside[0]) != elements(all) {
		t.Error("what moves is not spared")
	}
}

func TestFailureIsSaidAndKept(t *testing.T) {
	k := &kernel{err: errors.New("no")}
	l, _ := loop(t, k, record("a"))
	if l.look(t.Context(), time.Now()) {
		t.Error("a failure counts as a repair")
	}
	if s := l.Stats(); s.Failures != 1 || s.Problem == "" || !s.LastLook.IsZero() {
		t.Errorf("stats %+v", s)
	}
	k.err = nil
	l.look(t.Context(), time.Now())
	if s := l.Stats(); s.Problem != "" || s.LastLook.IsZero() {
		t.Errorf("stats %+v", s)
	}
}

// However many events come, looks keep their pace; the last event is followed by a
// look.
func TestStormIsBoundedAndSeen(t *testing.T) {
	k := &kernel{changes: []nft.Change{{Kind: "table", Name: "inet masq", Found: "missing"}}}
	l, _ := loop(t, k, record("a"))
	slow := l.Apply
	l.Apply = func(want, beside ruleset.Table) ([]nft.Change, error) {
		busy := time.Now().Add(2 * time.Millisecond)
		for time.Now().Before(busy) { // work, not waiting
			continue
		}
		return slow(want, beside)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	begun := time.Now()
	go func() { l.Run(ctx); close(ended) }()
	for l.Stats().Storms == 0 {
		l.Look("rules")
		if time.Since(begun) > 10*time.Second {
			t.Fatal("no storm is seen")
		}
	}
	took := time.Since(begun)
	cancel()
	<-ended
	if looks := k.looks(); time.Duration(looks)*2*time.Millisecond*rest > took+restMost {
		t.Errorf("%d looks of 2 ms in %s", looks, took)
	}
}
