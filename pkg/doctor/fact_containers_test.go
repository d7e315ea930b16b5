package doctor

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// unnamedNamespace makes a network namespace that ends with the test, and returns its path.
func unnamedNamespace(t testing.TB) string {
	t.Helper()
	type result struct {
		file *os.File
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- result{nil, err}
			return
		}
		file, err := os.Open("/proc/thread-self/ns/net")
		done <- result{file, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatalf("make a network namespace (this test needs root): %v", r.err)
	}
	t.Cleanup(func() { _ = r.file.Close() })
	return fmt.Sprintf("/proc/self/fd/%d", r.file.Fd())
}

// TestContainerFacts: each container is entered once, and removed containers are skipped. A
// container that cannot be entered is an error that names it.
func TestContainerFacts(t *testing.T) {
	n := testNode(5)
	path := unnamedNamespace(t)
	for i := range n.AllRecords {
		n.AllRecords[i].NetNS, n.AllRecords[i].Interface = path, "lo"
	}
	n.AllRecords[1].NetNS, n.AllRecords[1].Interface = unnamedNamespace(t), "eth0"
	n.AllRecords[2].NetNS = "/proc/self/fd/none"
	n.AllRecords[3].Ready = false
	dir := t.TempDir()
	var at unix.Stat_t
	if err := unix.Stat(dir, &at); err != nil {
		t.Fatal(err)
	}
	n.AllRecords[4].NetNS = dir + "/removed"
	n.AllRecords[4].Evidence = &masq.Evidence{NetNS: &masq.NetNS{Path: dir + "/removed", Device: 1, Inode: 1, DirDevice: at.Dev, DirInode: at.Ino}}
	x, err := n.containerFacts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if x.entered != 2 || x.failed != 1 || len(x.Interiors) != 2 || x.Interiors[0].Index == 0 || x.Interiors[1].Index != 0 {
		t.Errorf("%+v", x)
	}
	const want = "1 of 3 containers, the first: container net/c/lo: open /proc/self/fd/none: no such file or directory"
	if err := x.check(); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if again, _ := n.containerFacts(t.Context()); again != x {
		t.Error("the containers were entered twice")
	}
}

// BenchmarkContainerFacts enters 1,000 containers.
func BenchmarkContainerFacts(b *testing.B) {
	n := testNode(1000)
	for i := range n.AllRecords {
		n.AllRecords[i].NetNS, n.AllRecords[i].Interface = unnamedNamespace(b), "lo"
	}
	b.ReportAllocs()
	for b.Loop() {
		n.facts = map[string]any{}
		if x, err := n.containerFacts(b.Context()); err != nil || x.check() != nil {
			b.Fatal(err, x.check())
		}
	}
}
