package store

import (
	"errors"
	"os"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Retired records that cannot be read go if they are damaged, and stay otherwise: a later
// read, or a newer program, can read them.
func TestRetiredThatCannotBeRead(t *testing.T) {
	r := open(t, t.TempDir())
	path := func(id string) string { return retiredPath(r.path(record(id).Key)) }
	for _, id := range []string{"good", "damaged", "newer", "unreadable"} {
		if err := errors.Join(r.Put(record(id)), r.Retire(record(id).Key)); err != nil {
			t.Fatal(err)
		}
	}
	err := errors.Join(
		os.WriteFile(path("damaged"), []byte("{"), 0o600),
		os.WriteFile(path("newer"), []byte(`{"version": 1000}`), 0o600),
		os.Remove(path("unreadable")), os.Mkdir(path("unreadable"), 0o700),
	)
	if err != nil {
		t.Fatal(err)
	}
	all, err := r.Retired()
	if len(all) != 1 || all[0].ContainerID != "good" {
		t.Errorf("got %v", all)
	}
	if bad := ReadErrors(err); len(bad) != 1 || bad[0].Path != path("unreadable") {
		t.Errorf("the error is about %v: %v", bad, err)
	}
	for id, stays := range map[string]bool{"good": true, "damaged": false, "newer": true, "unreadable": true} {
		if _, err := os.Lstat(path(id)); (err == nil) != stays {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// The mark of a duplicate address goes with the retired record, unless the attachment was
// made again.
func TestForgetUnmarks(t *testing.T) {
	r := open(t, t.TempDir())
	b := at("b", 2, "10.0.0.1")
	b.Replaced = []masq.Key{at("a", 1, "10.0.0.1").Key}
	marked := func(want bool) {
		t.Helper()
		if _, err := os.Lstat(r.markPath(b.Key)); (err == nil) != want {
			t.Errorf("marked: %v; want %t", err, want)
		}
	}
	if err := errors.Join(r.PutReplacing(b), r.Retire(b.Key), r.PutReplacing(b), r.Forget(b.Key)); err != nil {
		t.Fatal(err)
	}
	marked(true)
	if err := errors.Join(r.Retire(b.Key), r.Forget(b.Key)); err != nil {
		t.Fatal(err)
	}
	marked(false)
}
