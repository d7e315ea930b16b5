package safedir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	holder, other := open(), open()
	if err := Lock(holder); err != nil {
		t.Fatal(err)
	}
	for _, try := range []func(*os.File) error{TryLock, TryLockShared} {
		if err := try(other); !errors.Is(err, ErrLocked) {
			t.Errorf("a locked file: %v", err)
		}
	}
	locked := make(chan error)
	go func() { locked <- Lock(other) }()
	select {
	case err := <-locked:
		t.Fatalf("Lock did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-locked; err != nil {
		t.Error(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if a, b := open(), open(); TryLockShared(a) != nil || TryLockShared(b) != nil || !errors.Is(TryLock(open()), ErrLocked) {
		t.Error("a shared lock does not work")
	}
	closed := open()
	_ = closed.Close()
	if err := Lock(closed); !errors.As(err, new(*fs.PathError)) {
		t.Errorf("a closed file: %v", err)
	}
}
