package conntrack

import (
	"errors"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/test/assert"
)

func TestGetAndDelete(t *testing.T) {
	tb := newTable(t)
	tb.insert(mixture()...)
	all := tb.collect(Filter{})
	for _, f := range all {
		for _, by := range []Tuple{f.Original, f.Reply} {
			got := assert.Must(tb.Get(by))(t)
			got.Timeout = f.Timeout
			if got != f {
				t.Errorf("%s: got %+v\nnot %+v", by, got, f)
			}
		}
		if err := tb.Delete(f.Original, f.ID+1); !errors.Is(err, ErrNotFound) {
			t.Errorf("deleted another's: %v", err)
		}
		assert.NoError(t, tb.Delete(f.Reply, f.ID))
		if _, err := tb.Get(f.Original); !errors.Is(err, ErrNotFound) {
			t.Errorf("found what was deleted: %v", err)
		}
		if err := tb.Delete(f.Original, 0); !errors.Is(err, ErrNotFound) {
			t.Errorf("deleted twice: %v", err)
		}
	}
	if left := tb.collect(Filter{}); len(left) != 0 {
		t.Errorf("left: %v", keys(left))
	}
	if tb.Delete(Tuple{}, 0) == nil || tb.Delete(Tuple{Src: mixture()[0].Original.Src}, 1) == nil {
		t.Error("deleted half a tuple")
	}
	if _, err := tb.Get(Tuple{}); err == nil {
		t.Error("found half a tuple")
	}
}

func TestDeleteMatching(t *testing.T) {
	tb := newTable(t)
	const size = 20_000
	tb.insert(many(size)...)
	port := func(f *Flow) bool { return f.Original.SrcPort%2 == 0 }
	doomed := 0
	for _, f := range tb.collect(Filter{Family: masq.IPv4}) {
		if port(&f) {
			doomed++
		}
	}
	n, err := tb.DeleteMatching(t.Context(), Filter{Family: masq.IPv4}, port)
	assert.NoError(t, err)
	left := tb.collect(Filter{})
	if n != doomed || len(left) != size-doomed {
		t.Errorf("deleted %d, should %d; %d are left", n, doomed, len(left))
	}
	for _, f := range left {
		if f.Original.Src.Is4() && port(&f) {
			t.Fatalf("left: %s", f.Original)
		}
	}
	// A flow that another program deletes meanwhile is neither counted nor an error.
	before := len(left)
	byOthers := 0
	n, err = tb.DeleteMatching(t.Context(), Filter{}, func(f *Flow) bool {
		if f.Original.SrcPort%3 == 0 {
			assert.NoError(t, tb.Delete(f.Original, f.ID))
			byOthers++
		}
		return true
	})
	assert.NoError(t, err)
	if left := tb.collect(Filter{}); n+byOthers != before || byOthers == 0 || len(left) != 0 {
		t.Errorf("deleted %d, others %d, of %d; left: %d", n, byOthers, before, len(left))
	}
}
