package store

import (
	"errors"
	"os"
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
	tells := func(want Daemon) {
		t.Helper()
		f, err := os.Open(r.LockPath())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if got := ReadDaemon(f); got != want {
			t.Errorf("%+v, not %+v", got, want)
		}
	}
	tells(Daemon{})
	for _, fault := range []string{strings.Repeat("line\n", 100), "short", ""} {
		if err := l.Tell(func(d *Daemon) { d.Listen, d.ConfigurationFault = "127.0.0.1:1", fault }); err != nil {
			t.Fatal(err)
		}
		tells(Daemon{Listen: "127.0.0.1:1", ConfigurationFault: fault})
	}
	if _, err := r.Lock(); !errors.Is(err, ErrLocked) {
		t.Errorf("a second lock: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// The next one has the lock, and tells nothing of the one before.
	if l, err = r.Lock(); err != nil {
		t.Fatal(err)
	}
	tells(Daemon{})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// What a masqd has written only in part, or an earlier version, tells nothing.
func TestReadDaemonOfGarbage(t *testing.T) {
	for text, want := range map[string]Daemon{
		"": {}, "x": {}, `{"listen":"127`: {}, "[]": {}, `{"listen":"a"}` + "\n" + `rest of a longer one"}`: {Listen: "a"},
	} {
		if got := ReadDaemon(strings.NewReader(text)); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
}
