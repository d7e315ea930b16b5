package reconcile

import (
	"errors"
	"os"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/store"
)

// TestUnreadableIsReadAgain: Retry and Reload read an unreadable record again, although its
// file did not change. Its last readable content is known.
func TestUnreadableIsReadAgain(t *testing.T) {
	r, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Put(record("a")); err != nil {
		t.Fatal(err)
	}
	path := newest(t, r.Dir())
	c, err := NewCache(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.watcher.Close() }()
	if c.Retry() || c.HasUnreadable() || len(c.Unreadable()) > 0 {
		t.Error("a readable record is reported as unreadable")
	}
	for _, again := range []func() bool{
		c.Retry,
		func() bool {
			before := c.Snapshot().Version
			return c.Reload() == nil && c.Snapshot().Version != before
		},
	} {
		// A directory in place of the file cannot be read.
		if err := errors.Join(os.Rename(path, path+".aside"), os.Mkdir(path, 0o700), c.Reload()); err != nil {
			t.Fatal(err)
		}
		all := c.Unreadable()
		if len(all) != 1 || all[0].Path != path || all[0].Damaged || all[0].Known == nil || all[0].Known.ContainerID != "a" {
			t.Fatalf("%+v", all)
		}
		version := c.Snapshot().Version
		if c.Retry() || c.Snapshot().Version != version {
			t.Error("the same error counts as a change")
		}
		if err := errors.Join(os.Remove(path), os.Rename(path+".aside", path)); err != nil {
			t.Fatal(err)
		}
		if !again() || c.HasUnreadable() || len(c.Snapshot().Records) != 1 {
			t.Errorf("it is not read again: %+v", c.Unreadable())
		}
	}
}
