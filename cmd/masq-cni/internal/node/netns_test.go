package node

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/nstest"
)

// inode returns the inode of a namespace.
func inode(path string) uint64 {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return 0
	}
	return s.Ino
}

func TestEnter(t *testing.T) {
	ns := newNamespace(t)
	const here = "/proc/thread-self/ns/net"
	for _, name := range []string{ns.Name(), ns.Path(), "/var/run/netns/" + ns.Name()} {
		type answer struct {
			before, after uint64
			err           error
		}
		done := make(chan answer)
		go func() {
			a := answer{before: inode(here)}
			a.err = enter(name)
			a.after = inode(here)
			done <- a
		}()
		a := <-done
		if want := inode(ns.Path()); a.err != nil || a.after != want || a.before == want {
			t.Errorf("%s: moved from %d to %d, want %d: %v", name, a.before, a.after, want, a.err)
		}
	}
	if inode(here) == inode(ns.Path()) {
		t.Error("another goroutine is in the namespace")
	}
}

func TestNamesElsewhere(t *testing.T) {
	names := t.TempDir()
	ns := newNamespace(t)
	// A name that only the second directory has.
	if err := os.Symlink(ns.Path(), filepath.Join(names, "other")); err != nil {
		t.Fatal(err)
	}
	if path, err := pathOf("other", filepath.Dir(ns.Path()), names); err != nil || path != filepath.Join(names, "other") {
		t.Error(path, err)
	}
	if path, err := pathOf("other", filepath.Dir(ns.Path())); err == nil {
		t.Errorf("found at %s, which is not in the directories", path)
	}
}

func newNamespace(t *testing.T) *nstest.NS {
	t.Helper()
	n, err := nstest.New(t).Namespace("node")
	if err != nil {
		t.Fatal(err)
	}
	return n
}
