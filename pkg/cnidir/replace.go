package cnidir

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/safedir"
)

// dir is a directory that others write to as well, while no other install does.
type dir struct {
	path string
	file *os.File
}

// turn is how often a directory that another install has is asked for.
const turn = 10 * time.Millisecond

// take waits for a directory, and removes what an install that was killed left there. It
// refuses a directory where an unprivileged user could put a program or a network.
func take(ctx context.Context, path string) (*dir, error) {
	if err := safedir.Check(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	d := &dir{path: path, file: f}
	err = d.lock(ctx)
	if err == nil {
		err = d.tidy()
	}
	if err != nil {
		d.release()
		return nil, err
	}
	return d, nil
}

func (d *dir) lock(ctx context.Context) error {
	for {
		err := unix.Flock(int(d.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock %s: %w", d.path, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("another install has %s: %w", d.path, ctx.Err())
		case <-time.After(turn):
		}
	}
}

// release lets the next one have the directory.
func (d *dir) release() { _ = d.file.Close() }

// Temporary files are hidden, and of no extension that a runtime looks at.
const temporary = ".masq-cni-"

var temporaryName = regexp.MustCompile(`^\..+` + regexp.QuoteMeta(temporary) + `[0-9a-f]{16}$`)

// tidy removes temporary files: nobody is at work on them.
func (d *dir) tidy() error {
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

// replace puts what a reader has in place of a file, with this mode, and with the
// owner of the file that it is like, if any.
func (d *dir) replace(name string, r io.Reader, mode fs.FileMode, like fs.FileInfo) error {
	tmp, err := d.prepare(name, r, mode, like)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(d.path, name)); err != nil {
		return errors.Join(err, remove(tmp))
	}
	return d.file.Sync()
}

// prepare writes a temporary file, and returns its path.
func (d *dir) prepare(name string, r io.Reader, mode fs.FileMode, like fs.FileInfo) (string, error) {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	tmp := filepath.Join(d.path, "."+name+temporary+hex.EncodeToString(random[:]))
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	// It is closed before it has its name: a program that is open for writing cannot
	// be executed.
	if err := errors.Join(fill(f, r, mode, like), f.Close()); err != nil {
		return "", errors.Join(err, remove(tmp))
	}
	return tmp, nil
}

func fill(f *os.File, r io.Reader, mode fs.FileMode, like fs.FileInfo) error {
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	if err := own(f, like); err != nil {
		return err
	}
	// Whatever the umask takes.
	if err := f.Chmod(mode); err != nil {
		return err
	}
	return f.Sync()
}

// own gives a file the owner of another. Where it has that owner already, which is so
// among root's files, it needs no capability.
func own(f *os.File, like fs.FileInfo) error {
	if like == nil {
		return nil
	}
	now, err := f.Stat()
	if err != nil {
		return err
	}
	want, has := like.Sys().(*syscall.Stat_t), now.Sys().(*syscall.Stat_t)
	if want.Uid == has.Uid && want.Gid == has.Gid {
		return nil
	}
	if err := f.Chown(int(want.Uid), int(want.Gid)); err != nil {
		return fmt.Errorf("keep its owner %d:%d: %w", want.Uid, want.Gid, err)
	}
	return nil
}

// errOvertaken says that a file was changed between reading and writing.
var errOvertaken = errors.New("another program has changed it just now")

// rewrite puts a text in place of what was read of a file. If somebody has written
// another meanwhile, that is what stays.
func (d *dir) rewrite(f *file, text []byte) error {
	tmp, err := d.prepare(f.name, bytes.NewReader(text), f.info.Mode().Perm(), f.info)
	if err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	err = unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, f.path, unix.RENAME_EXCHANGE)
	if err != nil {
		return fmt.Errorf("write %s: %w", f.path, errors.Join(err, remove(tmp)))
	}
	// Not to be missed: what was there is now the temporary file.
	if was, err := os.ReadFile(tmp); err != nil || !bytes.Equal(was, f.text) {
		return fmt.Errorf("write %s: %w", f.path, errors.Join(errOvertaken, err, os.Rename(tmp, f.path)))
	}
	return errors.Join(remove(tmp), d.file.Sync())
}

// write makes a list of our own, unless it is there already.
func (d *dir) write(name string, text []byte) (changed bool, err error) {
	path := filepath.Join(d.path, name)
	like, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return false, err
	case !like.Mode().IsRegular():
		return false, fmt.Errorf("%s is no regular file; move it away", path)
	default:
		if b, err := os.ReadFile(path); err == nil && bytes.Equal(b, text) {
			return false, nil
		}
	}
	if err := d.replace(name, bytes.NewReader(text), 0o644, nil); err != nil {
		return false, fmt.Errorf("write %s: %w", path, err)
	}
	return true, nil
}

// remove removes a file for good.
func (d *dir) remove(name string) error {
	if err := remove(filepath.Join(d.path, name)); err != nil {
		return err
	}
	return d.file.Sync()
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
