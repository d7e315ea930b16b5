package store

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/safedir"
	"github.com/masq-cni/masq-cni/test/assert"
)

func TestLock(t *testing.T) {
	r, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(r.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := r.Lock()
	if err != nil {
		t.Fatal(err)
	}
	wantState := func(want Daemon) {
		t.Helper()
		f, err := os.Open(r.LockPath())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if got := ReadDaemon(f); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	wantState(Daemon{})
	for _, fault := range []string{strings.Repeat("line\n", 100), "short", ""} {
		if err := l.Publish(func(d *Daemon) { d.Listen, d.ConfigurationFault, d.Helpers = "127.0.0.1:1", fault, []string{"rtsp"} }); err != nil {
			t.Fatal(err)
		}
		wantState(Daemon{Listen: "127.0.0.1:1", ConfigurationFault: fault, Helpers: []string{"rtsp"}})
	}
	if _, err := r.Lock(); !errors.Is(err, ErrLocked) {
		t.Errorf("a second lock: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// The next masqd gets the lock, and the state of the previous masqd is gone.
	if l, err = r.Lock(); err != nil {
		t.Fatal(err)
	}
	wantState(Daemon{})
	if err := l.Publish(func(d *Daemon) { d.HasRun, d.Listen = true, "127.0.0.1:1" }); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// That a masqd has run remains.
	if l, err = r.Lock(); err != nil {
		t.Fatal(err)
	}
	wantState(Daemon{HasRun: true})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// An incomplete state and the lock file of an earlier version give the zero Daemon.
func TestReadDaemonIncomplete(t *testing.T) {
	for text, want := range map[string]Daemon{
		"": {}, "x": {}, `{"listen":"127`: {}, "[]": {}, `{"listen":"a"}` + "\n" + `rest of a longer one"}`: {Listen: "a"},
	} {
		if got := ReadDaemon(strings.NewReader(text)); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}

// TestReadLock reads the state before, while and after the records are locked.
func TestReadLock(t *testing.T) {
	r := open(t, t.TempDir())
	state := func(want Daemon, running bool) {
		t.Helper()
		d, h, err := ReadLock(r.LockPath())
		if err != nil || !reflect.DeepEqual(d, want) || h.Running != running || running && h.PID != os.Getpid() {
			t.Errorf("got %+v, %+v, %v", d, h, err)
		}
	}
	state(Daemon{}, false) // there is no file
	if err := os.MkdirAll(r.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := r.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Publish(func(d *Daemon) { d.Helpers = []string{"rtsp"} }); err != nil {
		t.Fatal(err)
	}
	state(Daemon{Helpers: []string{"rtsp"}}, true)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	state(Daemon{Helpers: []string{"rtsp"}}, false)
	if l, err = r.Lock(); err != nil {
		t.Fatal(err) // reading has left no lock
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestReadLockShared: the lock with which another program reads the state is not masqd's, and a
// masqd that starts meanwhile waits for its end.
func TestReadLockShared(t *testing.T) {
	r := open(t, t.TempDir())
	assert.NoError(t, os.MkdirAll(r.Dir(), 0o700))
	assert.NoError(t, assert.Must(r.Lock())(t).Close())
	reader := assert.Must(os.Open(r.LockPath()))(t)
	assert.NoError(t, safedir.TryLockShared(reader))
	if _, h, err := ReadLock(r.LockPath()); err != nil || h.Running {
		t.Errorf("got %+v, %v while another program reads", h, err)
	}
	locked := make(chan error, 1)
	go func() {
		l, err := r.Lock()
		if err == nil {
			err = l.Close()
		}
		locked <- err
	}()
	var s unix.Stat_t
	assert.NoError(t, unix.Fstat(int(reader.Fd()), &s))
	inode := fmt.Sprintf(":%d ", s.Ino)
	assert.Until(t, "Lock waits", func() bool {
		select {
		case err := <-locked:
			t.Fatalf("Lock did not wait: %v", err)
		default:
		}
		n := 0
		for line := range strings.Lines(string(assert.Must(os.ReadFile("/proc/locks"))(t))) {
			if strings.Contains(line, inode) {
				n++
			}
		}
		return n >= 2
	})
	assert.NoError(t, reader.Close())
	assert.NoError(t, <-locked)
}
