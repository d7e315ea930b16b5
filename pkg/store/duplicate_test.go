package store

import (
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// at is a record that is ready, made so many seconds after the first.
func at(id string, second int, addresses ...string) Record {
	r := record(id)
	r.Ready, r.Created = true, time.Unix(int64(second), 0).UTC()
	r.Addresses = nil
	for _, a := range addresses {
		r.Addresses = append(r.Addresses, netip.MustParseAddr(a))
	}
	return r
}

func TestDuplicates(t *testing.T) {
	moving := at("moving", 9, "10.0.0.1")
	moving.Ready = false
	twice := at("twice", 4, "10.0.0.4", "10.0.0.4") // one holder all the same
	got := Duplicates([]Record{
		at("c", 3, "10.0.0.2", "fd00::2"), at("a", 1, "10.0.0.1", "10.0.0.2"), at("b", 2, "10.0.0.2"),
		at("d", 4, "10.0.0.3", "fd00::2"), moving, twice,
	})
	want := map[string][]string{"10.0.0.2": {"a", "b", "c"}, "fd00::2": {"c", "d"}}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
	for _, d := range got {
		var ids []string
		for _, h := range d.Holders {
			ids = append(ids, h.ContainerID)
		}
		if !slices.Equal(ids, want[d.Address.String()]) {
			t.Errorf("%s: %v", d.Address, ids)
		}
	}
	if text := got[0].String(); text != "10.0.0.2 is the address of 3 attachments: net/a/eth0, net/b/eth0, net/c/eth0" {
		t.Error(text)
	}
}

func TestMarked(t *testing.T) {
	r := open(t, t.TempDir())
	a, b, c := at("a", 1, "10.0.0.1"), at("b", 2, "10.0.0.1", "10.0.0.2"), at("c", 3, "10.0.0.1")
	b.Replaced = []masq.Key{a.Key}
	c.Replaced = []masq.Key{a.Key, b.Key}
	marked := func(want int) {
		t.Helper()
		all, err := r.Marked()
		if err != nil {
			t.Fatal(err)
		}
		holders := 0
		for _, d := range all {
			holders += len(d.Holders)
		}
		if holders != want {
			t.Errorf("%d holders instead of %d: %v", holders, want, all)
		}
	}
	put := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	marked(0)
	put(r.Put(a))
	marked(0)
	put(r.PutReplacing(b))
	marked(2)
	put(r.PutReplacing(c))
	marked(3)
	put(r.Put(c)) // as it becomes ready
	marked(3)
	put(r.Delete(a.Key))
	marked(2)
	put(os.Remove(r.path(b.Key))) // by no program of ours
	marked(0)
	put(r.Put(a))
	marked(2)
	put(r.Delete(c.Key))
	put(r.Delete(b.Key))
	marked(0)
	if _, err := os.Stat(r.markDir()); !os.IsNotExist(err) {
		t.Errorf("the marks' directory stays: %v", err)
	}
}

func TestReplaced(t *testing.T) {
	r := open(t, t.TempDir())
	late, early, other, moving := at("late", 3, "10.0.0.1"), at("early", 1, "10.0.0.1"), at("other", 2, "10.0.0.9"), at("moving", 4, "10.0.0.1")
	moving.Ready = false
	rec := at("rec", 5, "10.0.0.1")
	for _, o := range []Record{late, early, other, moving} {
		if err := r.Put(o); err != nil {
			t.Fatal(err)
		}
		rec.Replaced = append(rec.Replaced, o.Key)
	}
	rec.Replaced = append(rec.Replaced, at("gone", 1).Key)
	got, err := r.Replaced(rec)
	if err != nil || len(got) != 2 || got[0].Key != early.Key || got[1].Key != late.Key {
		t.Errorf("got %v, %v", got, err)
	}
}
