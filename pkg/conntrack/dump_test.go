package conntrack

import (
	"context"
	"errors"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

func TestDumpIsWhatIsThere(t *testing.T) {
	tb := newTable(t)
	if got := tb.collect(Filter{}); len(got) != 0 {
		t.Fatalf("an empty table has %v", keys(got))
	}
	want := mixture()
	tb.insert(want...)
	got := tb.collect(Filter{})
	if len(got) != len(want) {
		t.Errorf("%d flows, inserted %d", len(got), len(want))
	}
	for i := range want {
		w := &want[i]
		g, ok := got[w.Original]
		switch {
		case !ok:
			t.Errorf("%s is missing", w.Original)
		case g.Mark != w.Mark, g.State != w.State, !g.Has(HasID | HasMark | HasTimeout), g.Has(HasState) != w.Has(HasState):
			t.Errorf("%+v\nis not %+v", g, w.Flow)
		case g.Status&insertedStatus != w.Status&insertedStatus, g.Translated() != w.snat.IsValid():
			t.Errorf("%s: status %s", w.Original, g.Status)
		case w.snat.IsValid() && g.Egress().Addr() != w.snat.Addr():
			t.Errorf("%s leaves from %s", w.Original, g.Egress())
		case !w.snat.IsValid() && g.Reply != w.Reply:
			t.Errorf("%s is answered by %s", w.Original, g.Reply)
		}
	}
}

func TestDumpEndsEarly(t *testing.T) {
	tb := newTable(t)
	tb.insert(many(5000)...)
	for range 20 {
		for _, err := range tb.Dump(t.Context(), Filter{}) {
			assert.NoError(t, err)
			break
		}
	}
	if n := len(tb.collect(Filter{})); n != 5000 {
		t.Errorf("after a dump that ended early: %d flows", n)
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	reason := errors.New("enough")
	n := 0
	for _, err := range tb.Dump(ctx, Filter{}) {
		if n++; n == 10 {
			cancel(reason)
		}
		if err != nil && !errors.Is(err, reason) {
			t.Error(err)
		}
	}
	if n < 10 || n >= 5000 {
		t.Errorf("%d flows with a context that ended at 10", n)
	}
	if n := len(tb.collect(Filter{})); n != 5000 {
		t.Errorf("after a dump whose context ended: %d flows", n)
	}
}

// A Conn stays in its namespace when the thread is in another.
func TestDumpEndsEarlyElsewhere(t *testing.T) {
	tb := newTable(t)
	tb.insert(many(5000)...)
	elsewhere := assert.Must(nstest.New(t).Namespace("elsewhere"))(t)
	assert.NoError(t, elsewhere.Do(func() error {
		for range 3 {
			for _, err := range tb.Dump(t.Context(), Filter{}) {
				assert.NoError(t, err)
				break
			}
		}
		if n := len(tb.collect(Filter{})); n != 5000 {
			t.Errorf("%d flows", n)
		}
		return nil
	}))
}

func TestDumpWithinDump(t *testing.T) {
	tb := newTable(t)
	tb.insert(mixture()...)
	for f, err := range tb.Dump(t.Context(), Filter{}) {
		assert.NoError(t, err)
		for _, err := range tb.Dump(t.Context(), Filter{}) {
			if !errors.Is(err, ErrBusy) {
				t.Fatalf("a dump within a dump: %v", err)
			}
		}
		g, err := tb.Get(f.Original)
		assert.NoError(t, err)
		if g.ID != f.ID {
			t.Fatalf("%s is %s", f.Original, g.Original)
		}
	}
}

// While others begin and end, flows that are there all the time come at least once.
func TestDumpOfATableThatChanges(t *testing.T) {
	tb := newTable(t)
	all := many(12_000)
	lasting, passing, spare := all[:4000], all[4000:8000], all[8000:]
	tb.insert(lasting...)
	tb.insert(passing...)
	want := map[Tuple]bool{}
	for i := range lasting {
		want[lasting[i].Original] = true
	}
	seen, ended, twice := map[Tuple]int{}, 0, 0
	for f, err := range tb.Dump(t.Context(), Filter{}) {
		assert.NoError(t, err)
		k, id := f.Original, f.ID
		if want[k] {
			if seen[k]++; seen[k] == 2 {
				twice++
			}
			continue
		}
		// Delete the flow that was read, and begin another.
		err := tb.Delete(k, id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		assert.NoError(t, err)
		if ended < len(spare) {
			tb.insert(spare[ended])
		}
		ended++
	}
	if len(seen) != len(lasting) {
		t.Errorf("%d of %d lasting flows came", len(seen), len(lasting))
	}
	if ended < len(passing) {
		t.Errorf("only %d flows ended during the dump", ended)
	}
	t.Logf("%d ended, %d of %d came twice", ended, twice, len(lasting))
}
