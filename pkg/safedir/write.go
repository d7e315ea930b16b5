package safedir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// WriteFile replaces a file by a rename, so that readers see the old text or the new
// text. It writes the temporary file, which must be in the same directory. WriteFile does
// not wait for the disk: after a power failure, the file can have the old text, the new
// text, or be empty.
func WriteFile(path, temporary string, text []byte) error {
	return Write{Path: path, Temporary: temporary, Mode: 0o600}.Replace(bytes.NewReader(text))
}

// Write is a file to write by way of a temporary file in the same directory. Readers see
// the old content or the new content.
type Write struct {
	Path, Temporary string
	Mode            fs.FileMode
	// Owner is a file that has the owner and group of the new file. Nil is this process.
	Owner fs.FileInfo
	// Durable waits until the disk has the file and its name.
	Durable bool
}

// ErrChanged says that another program has changed a file since it was read.
var ErrChanged = errors.New("another program has changed the file")

// Replace writes the content, whether or not the file exists.
func (w Write) Replace(content io.Reader) error {
	if err := w.prepare(content); err != nil {
		return err
	}
	if err := os.Rename(w.Temporary, w.Path); err != nil {
		return errors.Join(err, remove(w.Temporary))
	}
	return w.syncDir()
}

// ReplaceText writes a text if the file still has the old text. Otherwise it keeps the file,
// and the error is ErrChanged.
func (w Write) ReplaceText(old, text []byte) error {
	if err := w.prepare(bytes.NewReader(text)); err != nil {
		return err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, w.Temporary, unix.AT_FDCWD, w.Path, unix.RENAME_EXCHANGE); err != nil {
		return errors.Join(&os.LinkError{Op: "exchange", Old: w.Temporary, New: w.Path, Err: err}, remove(w.Temporary))
	}
	// The temporary name now has the file that was replaced.
	if replaced, err := os.ReadFile(w.Temporary); err != nil || !bytes.Equal(replaced, old) {
		return errors.Join(ErrChanged, err, os.Rename(w.Temporary, w.Path))
	}
	return errors.Join(remove(w.Temporary), w.syncDir())
}

// prepare writes the temporary file, and closes it: the kernel does not execute a program
// that is open for writing.
func (w Write) prepare(content io.Reader) error {
	if err := remove(w.Temporary); err != nil {
		return err
	}
	f, err := os.OpenFile(w.Temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(w.fill(f, content), f.Close()); err != nil {
		return errors.Join(err, remove(w.Temporary))
	}
	return nil
}

func (w Write) fill(f *os.File, content io.Reader) error {
	if _, err := io.Copy(f, content); err != nil {
		return err
	}
	if err := w.chown(f); err != nil {
		return err
	}
	if w.Mode != 0o600 { // Chmod, because the umask limits the mode of OpenFile
		if err := f.Chmod(w.Mode); err != nil {
			return err
		}
	}
	if !w.Durable {
		return nil
	}
	return f.Sync()
}

// chown gives a file its owner. Without a change it needs no capability.
func (w Write) chown(f *os.File) error {
	if w.Owner == nil {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	want, has := w.Owner.Sys().(*syscall.Stat_t), info.Sys().(*syscall.Stat_t)
	if want.Uid == has.Uid && want.Gid == has.Gid {
		return nil
	}
	if err := f.Chown(int(want.Uid), int(want.Gid)); err != nil {
		return fmt.Errorf("keep the owner %d:%d: %w", want.Uid, want.Gid, err)
	}
	return nil
}

func (w Write) syncDir() error {
	if !w.Durable {
		return nil
	}
	return SyncDir(filepath.Dir(w.Path))
}

// SyncDir waits until the disk has the names of a directory.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
