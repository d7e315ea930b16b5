package nstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
)

func TestLabNamesAndRemoves(t *testing.T) {
	lab := assert.Must(Make(testPrefix))(t)
	other := assert.Must(Make(testPrefix))(t)
	a := assert.Must(lab.Namespace("a"))(t)
	again := assert.Must(other.Namespace("a"))(t)
	if want := fmt.Sprintf("/run/netns/nt-%d-a", os.Getpid()); a.Path() != want || filepath.Base(want) != a.Name() {
		t.Errorf("path %s, want %s", a.Path(), want)
	}
	if a.Path() == again.Path() {
		t.Errorf("two labs share %s", a.Path())
	}
	for range 2 {
		assert.NoError(t, lab.Close())
		assert.NoError(t, other.Close())
	}
	for _, n := range []*NS{a, again} {
		if _, err := os.Lstat(n.Path()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s after Close: %v", n.Path(), err)
		}
		if err := n.Do(func() error { return nil }); err == nil {
			t.Error("Do works after Close: where?")
		}
	}
	if _, err := lab.Namespace("b"); !errors.Is(err, ErrClosed) {
		t.Errorf("Namespace after Close: %v", err)
	}
}

func TestLabRefusesNames(t *testing.T) {
	for _, prefix := range []string{"", "-", "a-b", "../x", "A"} {
		if _, err := Make(prefix); err == nil {
			t.Errorf("prefix %q accepted", prefix)
		}
	}
	lab := New(t)
	for _, name := range []string{"", "../x", "a/b", "a b"} {
		if _, err := lab.Namespace(name); err == nil {
			t.Errorf("name %q accepted", name)
		}
	}
}

func TestSweepRemovesOnlyWhatTheDeadLeft(t *testing.T) {
	gone := exec.Command("true")
	assert.NoError(t, gone.Run())
	living := assert.Must(assert.Must(Make("ntsweep"))(t).Namespace("living"))(t)
	// A killed run: a namespace with a program, and a name that was reserved and not bound yet.
	dead := assert.Must(makeNS(fmt.Sprintf("ntsweep-%d-dead", gone.Process.Pid)))(t)
	half := assert.Must(reserve(fmt.Sprintf("%s/ntsweep-%d-half", netnsDir, gone.Process.Pid)))(t)
	ctx := within(t)
	left := dead.Command(ctx, "sleep", "1000")
	assert.NoError(t, left.Start())

	assert.NoError(t, Sweep("ntsweep"))
	if err := left.Wait(); err == nil || ctx.Err() != nil {
		t.Errorf("the program ended with %v, %v; want it killed by Sweep", err, ctx.Err())
	}
	for _, path := range []string{dead.Path(), half} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s after Sweep: %v", path, err)
		}
	}
	assert.NoError(t, living.Sysctl("net.ipv4.ip_forward", "1"))
	assert.NoError(t, errors.Join(dead.Close(), living.Close()))
}

// TestMakeNeedsRoot changes the user ID of one thread: the system call, unlike libc and package
// syscall, does not change the other threads.
func TestMakeNeedsRoot(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const keep = ^uintptr(0)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, 65534, keep); errno != 0 {
		t.Fatal(errno)
	}
	_, err := Make(testPrefix)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, 0, keep); errno != 0 {
		panic(errno) // the thread must not be reused
	}
	if !errors.Is(err, ErrNotRoot) {
		t.Errorf("got %v", err)
	}
}

// spy is a TB that records failures.
type spy struct {
	testing.TB
	cleanups []func()
	failed   bool
}

func (s *spy) Cleanup(f func())      { s.cleanups = append(s.cleanups, f) }
func (s *spy) Errorf(string, ...any) { s.failed = true }
func (s *spy) Fatalf(string, ...any) { s.failed = true }

func TestNewEndsWithItsTest(t *testing.T) {
	s := &spy{TB: t}
	n := assert.Must(New(s).Namespace("a"))(t)
	for _, f := range s.cleanups {
		f()
	}
	if _, err := os.Lstat(n.Path()); !errors.Is(err, os.ErrNotExist) || s.failed {
		t.Errorf("%s after the test: %v, failed %v", n.Path(), err, s.failed)
	}
}
