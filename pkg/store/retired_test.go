package store

import (
	"errors"
	"os"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Retired removes a damaged record, and keeps other unreadable records: a later read or a
// newer program may be able to read them.
func TestUnreadableRetired(t *testing.T) {
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
		t.Errorf("got errors of %v: %v", bad, err)
	}
	for id, stays := range map[string]bool{"good": true, "damaged": false, "newer": true, "unreadable": true} {
		if _, err := os.Lstat(path(id)); (err == nil) != stays {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// Forget removes the mark of a duplicate address, unless the attachment was added again.
func TestForgetUnmarks(t *testing.T) {
	r := open(t, t.TempDir())
	b := readyRecord("b", 2, "10.0.0.1")
	b.Replaced = []masq.Key{readyRecord("a", 1, "10.0.0.1").Key}
	marked := func(want bool) {
		t.Helper()
		if _, err := os.Lstat(r.markPath(b.Key)); (err == nil) != want {
			t.Errorf("the mark: %v; want it to exist: %t", err, want)
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
