package nstest

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
)

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	assert.NoError(t, unix.Stat(path, &st))
	return st.Ino
}

func TestDoIsInsideAndNothingElseIs(t *testing.T) {
	n := assert.Must(New(t).Namespace("a"))(t)
	want, home := inode(t, n.Path()), inode(t, "/proc/self/ns/net")
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			err := n.Do(func() error {
				runtime.Gosched()
				if got := inode(t, "/proc/thread-self/ns/net"); got != want {
					t.Errorf("in %d, want %d", got, want)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			if got := inode(t, "/proc/thread-self/ns/net"); got != home {
				t.Errorf("outside in %d, want %d", got, home)
			}
		})
	}
	wg.Wait()
}

func TestDoReturnsTheError(t *testing.T) {
	n := assert.Must(New(t).Namespace("a"))(t)
	want := errors.New("mine")
	if err := n.Do(func() error { return want }); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
	// As t.Fatal in f does: it must not hang and must not pass for success.
	if err := n.Do(func() error { runtime.Goexit(); return nil }); err == nil {
		t.Error("no error from a function that did not return")
	}
}

func TestSysctl(t *testing.T) {
	n := assert.Must(New(t).Namespace("a"))(t)
	before := assert.Must(os.ReadFile("/proc/sys/net/ipv4/ip_forward"))(t)
	for _, v := range []string{"0", "1"} {
		assert.NoError(t, n.Sysctl("net.ipv4.ip_forward", v))
		if got := assert.Must(n.ReadSysctl("net.ipv4.ip_forward"))(t); got != v {
			t.Errorf("got %q, want %q", got, v)
		}
	}
	if after := assert.Must(os.ReadFile("/proc/sys/net/ipv4/ip_forward"))(t); string(after) != string(before) {
		t.Errorf("the machine's ip_forward went from %q to %q", before, after)
	}
	for _, key := range []string{"kernel.hostname", "net/../kernel/hostname"} {
		if _, err := n.ReadSysctl(key); err == nil {
			t.Errorf("%s accepted", key)
		}
	}
	if assert.Must(n.ReadSysctl("net/ipv4/conf/lo/rp_filter"))(t) != "0" {
		t.Error("rp_filter is on")
	}
}
