package store

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
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
