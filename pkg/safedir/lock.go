package safedir

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// ErrLocked says that another process holds the lock of a file.
var ErrLocked = errors.New("locked by another process")

// Lock waits for the lock of a file or directory (flock(2)). Closing f unlocks it, and so
// does the kernel when the process ends.
func Lock(f *os.File) error { return flock(f, syscall.LOCK_EX) }

// TryLock is Lock without waiting: the error is ErrLocked if another process has the lock.
func TryLock(f *os.File) error { return flock(f, syscall.LOCK_EX|syscall.LOCK_NB) }

// TryLockShared is TryLock for a lock that other processes can share.
func TryLockShared(f *os.File) error { return flock(f, syscall.LOCK_SH|syscall.LOCK_NB) }

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return ErrLocked
		case !errors.Is(err, syscall.EINTR):
			return &fs.PathError{Op: "flock", Path: f.Name(), Err: err}
		}
	}
}
