package store

import (
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// readyRecord returns a record that is ready and was created at this second.
func readyRecord(id string, second int, addresses ...string) Record {
	r := record(id)
	r.Ready, r.Created = true, time.Unix(int64(second), 0).UTC()
	r.Addresses = nil
	for _, a := range addresses {
		r.Addresses = append(r.Addresses, netip.MustParseAddr(a))
	}
	return r
}

func TestDuplicates(t *testing.T) {
	pending := readyRecord("pending", 9, "10.0.0.1")
	pending.Ready = false
	twice := readyRecord("twice", 4, "10.0.0.4", "10.0.0.4") // counts as one holder
	got := Duplicates([]Record{
		readyRecord("c", 3, "10.0.0.2", "fd00::2"), readyRecord("a", 1, "10.0.0.1", "10.0.0.2"), readyRecord("b", 2, "10.0.0.2"),
		readyRecord("d", 4, "10.0.0.3", "fd00::2"), pending, twice,
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
	a, b, c := readyRecord("a", 1, "10.0.0.1"), readyRecord("b", 2, "10.0.0.1", "10.0.0.2"), readyRecord("c", 3, "10.0.0.1")
	b.Replaced = []masq.Key{a.Key}
	c.Replaced = []masq.Key{a.Key, b.Key}
	marked := func(want int) {
		t.Helper()
		all, err := r.MarkedDuplicates()
		if err != nil {
			t.Fatal(err)
		}
		holders := 0
		for _, d := range all {
			holders += len(d.Holders)
		}
		if holders != want {
			t.Errorf("got %d holders, want %d: %v", holders, want, all)
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
	put(os.Remove(r.path(b.Key))) // by another program
	marked(0)
	put(r.Put(a))
	marked(2)
	put(r.Delete(c.Key))
	put(r.Delete(b.Key))
	marked(0)
	if _, err := os.Stat(r.markDir()); !os.IsNotExist(err) {
		t.Errorf("the directory of marks was not removed: %v", err)
	}
}

func TestReplaced(t *testing.T) {
	r := open(t, t.TempDir())
	late, early, other, pending := readyRecord("late", 3, "10.0.0.1"), readyRecord("early", 1, "10.0.0.1"), readyRecord("other", 2, "10.0.0.9"), readyRecord("pending", 4, "10.0.0.1")
	pending.Ready = false
	rec := readyRecord("rec", 5, "10.0.0.1")
	for _, o := range []Record{late, early, other, pending} {
		if err := r.Put(o); err != nil {
			t.Fatal(err)
		}
		rec.Replaced = append(rec.Replaced, o.Key)
	}
	rec.Replaced = append(rec.Replaced, readyRecord("gone", 1).Key)
	got, err := r.Replaced(rec)
	if err != nil || len(got) != 2 || got[0].Key != early.Key || got[1].Key != late.Key {
		t.Errorf("got %v, %v", got, err)
	}
}
