package reconcile

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// elsewhere opens the records of a new network namespace.
func elsewhere(t *testing.T, dir string) (r *store.Records) {
	t.Helper()
	opened := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			r, err = store.Open(dir)
		}
		opened <- err
	}()
	if err := <-opened; err != nil {
		t.Fatalf("make a network namespace (this test needs root): %v", err)
	}
	return r
}

func put(t *testing.T, r *store.Records, id string, node *masq.NodeNetNS) masq.Key {
	t.Helper()
	rec := record(id)
	rec.Evidence = &masq.Evidence{Boot: "boot", Node: node}
	if node == nil {
		rec.Evidence = nil
	}
	if err := r.PutReplacing(rec); err != nil {
		t.Fatal(err)
	}
	return rec.Key
}

func TestNamespaceCleanup(t *testing.T) {
	dir := t.TempDir()
	own, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	states := map[masq.NodeNetNS]masq.NetNSState{}
	space := func(id uint64, s masq.NetNSState) *masq.NodeNetNS {
		n := masq.NodeNetNS{ID: id, Inode: 7}
		states[n] = s
		return &n
	}
	removed, alive, unknown := space(1, masq.NetNSRemoved), space(2, masq.NetNSAlive), space(3, masq.NetNSUnknown)
	// filesOf returns the files of a namespace below the state directory.
	filesOf := func(r *store.Records) (out []string) {
		t.Helper()
		err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
			name := strings.TrimPrefix(e.Name(), "node-")
			if strings.HasPrefix(name, r.ID()+"-") || name == r.ID()+".json" {
				out = append(out, strings.TrimPrefix(path, dir))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}

	put(t, own, "own", removed) // stale-attachment cleanup judges it
	dead := elsewhere(t, dir)
	put(t, dead, "a", removed)
	if err := dead.Retire(put(t, dead, "retired", removed)); err != nil {
		t.Fatal(err)
	}
	p := masq.Default()
	if err := dead.PutNode(&store.Node{Policy: p}); err != nil {
		t.Fatal(err)
	}
	onlyRetired := elsewhere(t, dir)
	if err := onlyRetired.Retire(put(t, onlyRetired, "a", removed)); err != nil {
		t.Fatal(err)
	}
	// A namespace may have the ID that another one had before a reboot.
	mixed := elsewhere(t, dir)
	put(t, mixed, "old", removed)
	put(t, mixed, "new", alive)
	unproved := elsewhere(t, dir)
	put(t, unproved, "a", unknown)
	before := elsewhere(t, dir)
	put(t, before, "a", nil) // written by an earlier version
	partly := elsewhere(t, dir)
	put(t, partly, "a", removed)
	kept := []masq.Key{put(t, partly, "b", nil)}
	kept = append(kept, put(t, partly, "c", removed))
	damaged := partly.PathOf(kept[1].Digest())
	if err := os.WriteFile(damaged, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}

	stay := map[string]*store.Records{"own": own, "mixed": mixed, "unknown": unproved, "written by an earlier version": before}
	was := map[string][]string{}
	for name, r := range stay {
		was[name] = filesOf(r)
	}
	c := &namespaceCleanup{
		records: own, state: func(n masq.NodeNetNS) masq.NetNSState { return states[n] },
		grace: time.Minute, log: slog.New(slog.DiscardHandler),
	}
	begin := time.Unix(1000, 0)
	run := func(after time.Duration) {
		t.Helper()
		if err := c.run(begin.Add(after)); err != nil {
			t.Fatal(err)
		}
	}
	all := filesOf(dead)
	run(0)
	run(time.Minute - 1)
	if got := filesOf(dead); !slices.Equal(got, all) || len(got) != 5 {
		t.Fatalf("within the grace %q of %q are left", got, all)
	}
	// The proof has to hold without interruption.
	states[*removed] = masq.NetNSUnknown
	run(time.Minute)
	states[*removed] = masq.NetNSRemoved
	run(2 * time.Minute)
	if got := filesOf(dead); !slices.Equal(got, all) {
		t.Fatalf("after a proof that did not hold %q of %q are left", got, all)
	}
	run(3 * time.Minute)
	for _, r := range []*store.Records{dead, onlyRetired} {
		if left := filesOf(r); len(left) > 0 {
			t.Errorf("after the removal of the namespace, %q are left", left)
		}
	}
	for name, r := range stay {
		if got := filesOf(r); !slices.Equal(got, was[name]) {
			t.Errorf("%s: %q, before %q", name, got, was[name])
		}
	}
	records, err := partly.All()
	if len(records) != 1 || records[0].Key != kept[0] || len(store.ReadErrors(err)) != 1 {
		t.Errorf("records that name no namespace: %v, %v", records, err)
	}
}

func TestNamespaceCleanupWithoutDirectory(t *testing.T) {
	own, err := store.Open(filepath.Join(t.TempDir(), "none"))
	if err != nil {
		t.Fatal(err)
	}
	if err := (&namespaceCleanup{records: own, log: slog.New(slog.DiscardHandler)}).run(time.Unix(0, 0)); err != nil {
		t.Error(err)
	}
}
