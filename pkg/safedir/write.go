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
	return Replacement{Path: path, Temporary: temporary, Mode: 0o600}.Write(bytes.NewReader(text))
}

// Replacement is a new version of the file at Path. It is written to Temporary, in the same
// directory, and then renamed, so that readers see the old content or the new content.
type Replacement struct {
	Path, Temporary string
	Mode            fs.FileMode
	// Owner describes a file whose owner and group the new file gets; nil: the owner and
	// group of this process.
	Owner fs.FileInfo
	// Durable waits until the disk has the file and its name.
	Durable bool
}

// ErrChanged says that another program has changed a file since it was read.
var ErrChanged = errors.New("another program has changed the file")

// Write writes the content. The file need not exist.
func (r Replacement) Write(content io.Reader) error {
	if err := r.prepare(content); err != nil {
		return err
	}
	if err := os.Rename(r.Temporary, r.Path); err != nil {
		return errors.Join(err, remove(r.Temporary))
	}
	return r.syncDir()
}

// WriteIfUnchanged writes a text if the file still has the old text. Otherwise it keeps the
// file, and the error is ErrChanged.
func (r Replacement) WriteIfUnchanged(old, text []byte) error {
	if err := r.prepare(bytes.NewReader(text)); err != nil {
		return err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, r.Temporary, unix.AT_FDCWD, r.Path, unix.RENAME_EXCHANGE); err != nil {
		return errors.Join(&os.LinkError{Op: "exchange", Old: r.Temporary, New: r.Path, Err: err}, remove(r.Temporary))
	}
	// The temporary name now has the file that was replaced.
	if replaced, err := os.ReadFile(r.Temporary); err != nil || !bytes.Equal(replaced, old) {
		return errors.Join(ErrChanged, err, os.Rename(r.Temporary, r.Path))
	}
	return errors.Join(remove(r.Temporary), r.syncDir())
}

// prepare writes the temporary file, and closes it: the kernel does not execute a program
// that is open for writing.
func (r Replacement) prepare(content io.Reader) error {
	if err := remove(r.Temporary); err != nil {
		return err
	}
	f, err := os.OpenFile(r.Temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(r.fill(f, content), f.Close()); err != nil {
		return errors.Join(err, remove(r.Temporary))
	}
	return nil
}

func (r Replacement) fill(f *os.File, content io.Reader) error {
	if _, err := io.Copy(f, content); err != nil {
		return err
	}
	if err := r.chown(f); err != nil {
		return err
	}
	if r.Mode != 0o600 { // Chmod, because the umask limits the mode of OpenFile
		if err := f.Chmod(r.Mode); err != nil {
			return err
		}
	}
	if !r.Durable {
		return nil
	}
	return f.Sync()
}

// chown gives a file its owner. Without a change it needs no capability.
func (r Replacement) chown(f *os.File) error {
	if r.Owner == nil {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	want, has := r.Owner.Sys().(*syscall.Stat_t), info.Sys().(*syscall.Stat_t)
	if want.Uid == has.Uid && want.Gid == has.Gid {
		return nil
	}
	if err := f.Chown(int(want.Uid), int(want.Gid)); err != nil {
		return fmt.Errorf("keep the owner %d:%d: %w", want.Uid, want.Gid, err)
	}
	return nil
}

func (r Replacement) syncDir() error {
	if !r.Durable {
		return nil
	}
	return SyncDir(filepath.Dir(r.Path))
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
