package cnidir

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/masq-cni/masq-cni/pkg/safedir"
)

// dir is a locked directory. Other programs may still write to it, but no other install.
type dir struct {
	path string
	file *os.File
}

// lockRetry is the time between two attempts to lock a directory.
const lockRetry = 10 * time.Millisecond

// lockDir waits for the lock of a directory, and removes temporary files of killed installs.
// It refuses a directory in which an unprivileged user could put a program or a network.
func lockDir(ctx context.Context, path string) (*dir, error) {
	if err := safedir.Check(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	d := &dir{path: path, file: f}
	err = d.lock(ctx)
	if err == nil {
		err = d.removeTemporary()
	}
	if err != nil {
		d.release()
		return nil, err
	}
	return d, nil
}

func (d *dir) lock(ctx context.Context) error {
	for {
		err := safedir.TryLock(d.file)
		if !errors.Is(err, safedir.ErrLocked) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is locked by another install: %w", d.path, ctx.Err())
		case <-time.After(lockRetry):
		}
	}
}

// release unlocks the directory.
func (d *dir) release() { _ = d.file.Close() }

// temporary is part of the names of temporary files. These are hidden, and have no extension
// that a runtime reads.
const temporary = ".masq-cni-"

var temporaryName = regexp.MustCompile(`^\..+` + regexp.QuoteMeta(temporary) + `[0-9a-f]{16}$`)

// removeTemporary removes temporary files: because of the lock, no install is writing them.
func (d *dir) removeTemporary() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if temporaryName.MatchString(e.Name()) {
			errs = append(errs, remove(filepath.Join(d.path, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// replacement returns a file to write. owner is a file whose owner the new file gets; nil is
// this process.
func (d *dir) replacement(name string, mode fs.FileMode, owner fs.FileInfo) safedir.Replacement {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	tmp := filepath.Join(d.path, "."+name+temporary+hex.EncodeToString(random[:]))
	return safedir.Replacement{Path: filepath.Join(d.path, name), Temporary: tmp, Mode: mode, Owner: owner, Durable: true}
}

// rewrite replaces the text of a file, unless another program has changed it since it
// was read: then the error is safedir.ErrChanged.
func (d *dir) rewrite(f *file, text []byte) error {
	if err := d.replacement(f.name, f.info.Mode().Perm(), f.info).WriteIfUnchanged(f.text, text); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	return nil
}

// write writes a list, unless the file already has this text.
func (d *dir) write(name string, text []byte) (changed bool, err error) {
	path := filepath.Join(d.path, name)
	like, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return false, err
	case !like.Mode().IsRegular():
		return false, fmt.Errorf("%s is not a regular file; move it to another directory", path)
	default:
		if b, err := os.ReadFile(path); err == nil && bytes.Equal(b, text) {
			return false, nil
		}
	}
	if err := d.replacement(name, 0o644, nil).Write(bytes.NewReader(text)); err != nil {
		return false, fmt.Errorf("write %s: %w", path, err)
	}
	return true, nil
}

// remove removes a file, and waits until the disk has the change.
func (d *dir) remove(name string) error {
	if err := remove(filepath.Join(d.path, name)); err != nil {
		return err
	}
	return safedir.SyncDir(d.path)
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
