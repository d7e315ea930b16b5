// Package safedir checks that no unprivileged user can plant, replace or redirect files in a
// directory, and reads, locks and replaces files in such directories.
//
// The programs run as root and keep records, leases, logs and programs in directories that
// an administrator chooses. In a directory that every user may write to, a user can plant a
// symbolic link to another file, or a record that the program believes. This package refuses
// such a directory. To check each file is not enough: the user could replace it between the
// check and its use. If all components of a path are safe, no file below needs its own check.
//
// Group write permission and an owner other than root are accepted, except in a directory
// that every user may write to: elsewhere only a privileged program can have set them. Access
// control lists are not read; the kernel shows their mask as the permission of the group.
//
// To debug, read the error: it names the component of the path, its mode or owner, and what
// to change. `namei -l DIR` lists modes and owners of all components.
package safedir

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Error says why a directory is not safe.
type Error struct {
	Dir    string // as given
	At     string // the component of its path that is not safe
	Reason string
	Remedy string
}

func (e *Error) Error() string {
	return fmt.Sprintf("directory %s is not safe: %s %s; %s", e.Dir, e.At, e.Reason, e.Remedy)
}

// Check returns an *Error if an unprivileged user could change files in a directory. It
// follows symbolic links. A missing directory is safe if its parents are: check it again
// after making it. Errors of other types come from the file system.
func Check(dir string) error {
	info, err := walk(dir)
	if err == nil && info != nil && isWorldWritable(info) {
		err = writable(dir, dir, info)
	}
	return err
}

// CheckPrivate is Check for a directory of this program alone: its owner must be the user of
// this process or root.
func CheckPrivate(dir string) error {
	if err := Check(dir); err != nil {
		return err
	}
	return CheckOwned(dir)
}

// CheckOwned is CheckPrivate, but accepts a directory with a sticky bit, such as the top
// directory of a tmpfs: users can make files in it, but cannot replace files of root. The
// caller must open only files that [IsOwn] accepts.
func CheckOwned(dir string) error {
	last, err := walk(dir)
	if err != nil || last == nil || trusted(last) {
		return err
	}
	return &Error{Dir: dir, At: dir, Reason: ownedBy(last), Remedy: "change its owner to root (chown), or give another directory"}
}

// IsWorldWritable reports whether every user can make files in a directory.
func IsWorldWritable(dir string) (bool, error) {
	info, err := os.Stat(dir)
	return err == nil && isWorldWritable(info), err
}

// IsOwn reports whether info describes a regular file that belongs to the user of this
// process or to root, and has at most one hard link: a user may be able to add a hard link to
// a file of root (link(2), fs.protected_hardlinks). A file that was replaced while it is open
// has none.
func IsOwn(info fs.FileInfo) bool {
	return info.Mode().IsRegular() && trusted(info) && info.Sys().(*syscall.Stat_t).Nlink <= 1
}

// maxLinks is the maximum number of symbolic links in a path, as in the kernel (MAXSYMLINKS).
const maxLinks = 40

// walk checks each component of a path. It returns the directory, or nil if it is missing.
func walk(dir string) (fs.FileInfo, error) {
	full, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	at, shared, links := "/", false, 0
	info, err := os.Lstat(at)
	if err != nil {
		return nil, err
	}
	for rest := components(full); len(rest) > 0; {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		if shared, err = check(dir, at, info, shared); err != nil {
			return nil, err
		}
		child, err := os.Lstat(next)
		if os.IsNotExist(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if child.Mode()&fs.ModeSymlink == 0 {
			at, info = next, child
			continue
		}
		if shared && !trusted(child) {
			return nil, notTrusted(dir, next, child)
		}
		target, err := os.Readlink(next)
		if err != nil {
			return nil, err
		}
		if links++; links > maxLinks {
			return nil, &fs.PathError{Op: "follow", Path: dir, Err: syscall.ELOOP}
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(at, target)
		}
		rest = append(components(target), rest...)
		at, shared = "/", false
		if info, err = os.Lstat(at); err != nil {
			return nil, err
		}
	}
	if _, err = check(dir, at, info, shared); err != nil {
		return nil, err
	}
	return info, nil
}

func components(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// check checks one directory of the path. inShared is true if every user may write to its
// parent, and shared is true if every user may write to the directory. A sticky bit keeps
// users from replacing files of others, but not from making files.
func check(dir, at string, info fs.FileInfo, inShared bool) (shared bool, err error) {
	if inShared && !trusted(info) {
		return false, notTrusted(dir, at, info)
	}
	if isWorldWritable(info) && info.Mode()&fs.ModeSticky == 0 {
		return true, writable(dir, at, info)
	}
	return isWorldWritable(info), nil
}

// isWorldWritable reports whether every user may write to a directory.
func isWorldWritable(info fs.FileInfo) bool { return info.IsDir() && info.Mode().Perm()&0o002 != 0 }

func writable(dir, at string, info fs.FileInfo) error {
	return &Error{
		Dir: dir, At: at, Reason: fmt.Sprintf("can be written to by every user (mode %#o)", info.Mode().Perm()),
		Remedy: "remove that permission (chmod o-w), or give another directory",
	}
}

func notTrusted(dir, at string, info fs.FileInfo) error {
	return &Error{
		Dir: dir, At: at, Reason: ownedBy(info) + ", in a directory that every user can write to",
		Remedy: "remove it, or give another directory",
	}
}

func ownedBy(info fs.FileInfo) string {
	return fmt.Sprintf("belongs to user %d", owner(info))
}

func owner(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// trusted reports whether the owner of a file is the user of this process or root.
func trusted(info fs.FileInfo) bool {
	uid := owner(info)
	return uid == 0 || uid == os.Geteuid() || uid == overflowUser && isInUserNamespace()
}

// overflowUser is the owner that a user namespace shows for users that it does not map, such
// as the root of the machine (/proc/sys/kernel/overflowuid).
const overflowUser = 65534

// isInUserNamespace reports whether the user namespace of this process does not map all users.
func isInUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(b)), " ") != "0 0 4294967295"
}
