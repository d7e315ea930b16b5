package cnidir

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"golang.org/x/mod/semver"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// mainPackage is the package path in the build information of the plugin, stripped or not.
const mainPackage = "github.com/masq-cni/masq-cni/plugins/masq"

// Program is the program of the plugin, to be installed or uninstalled.
type Program struct {
	// Source is the path of the file to install.
	Source string
	// Force replaces a newer version, or a file that is not the plugin.
	Force bool

	version func(context.Context, string) (string, error) // nil except in tests
}

// Installed is the result of Install.
type Installed struct {
	Path    string
	Changed bool
	// Version and Before are the versions of the new and the previous program, if Changed.
	// Before is empty without a previous program, and "another program" if it was not the
	// plugin.
	Version, Before string
	// Incomparable is true if it is unknown which of the two versions is newer.
	Incomparable bool
}

// NewerError says that the installed plugin is newer.
type NewerError struct{ Path, Installed, Given string }

func (e *NewerError) Error() string {
	return fmt.Sprintf("%s has version %s, which is newer than %s: it stays installed; give --force to install the older version", e.Path, e.Installed, e.Given)
}

// Install copies the program into a directory of plugins, and makes the directory if it is
// missing. A program with the same bytes is kept.
func (p Program) Install(ctx context.Context, binDir string) (done Installed, err error) {
	if p.version == nil {
		p.version = versionOf
	}
	done.Path = filepath.Join(binDir, Plugin)
	if err := os.MkdirAll(binDir, 0o755); err != nil {
		return done, err
	}
	d, err := lockDir(ctx, binDir)
	if err != nil {
		return done, err
	}
	defer d.release()
	src, err := os.Open(p.Source)
	if err != nil {
		return done, err
	}
	defer func() { _ = src.Close() }()
	info, err := os.Lstat(done.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return done, err
	default:
		equal, err := equalTo(src, done.Path, info)
		if equal && info.Mode().Perm() != programMode {
			err = os.Chmod(done.Path, programMode)
		}
		if err != nil || equal {
			return done, err
		}
		if _, err := src.Seek(0, io.SeekStart); err != nil {
			return done, err
		}
		done.Before = "another program"
	}
	// Run the program for its version before a file is open for writing: the started program
	// would inherit the descriptor.
	if done.Version, err = p.version(ctx, p.Source); err != nil {
		return done, err
	}
	if done.Before != "" {
		if err := p.mayReplace(ctx, &done); err != nil {
			return done, err
		}
	}
	if err := d.replacement(Plugin, programMode, nil).Write(src); err != nil {
		return done, fmt.Errorf("write %s: %w", done.Path, err)
	}
	done.Changed = true
	return done, nil
}

// programMode is the mode of a program that every user may run.
const programMode = 0o755

// equalTo reports whether an installed program has the bytes of the source.
func equalTo(src *os.File, path string, info fs.FileInfo) (bool, error) {
	if !info.Mode().IsRegular() {
		return false, nil
	}
	given, err := src.Stat()
	if err != nil || given.Size() != info.Size() {
		return false, err
	}
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	var a, b [64 << 10]byte
	for {
		n, err := io.ReadFull(src, a[:])
		m, _ := io.ReadFull(f, b[:])
		if !bytes.Equal(a[:n], b[:m]) {
			return false, nil
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return true, nil
		case err != nil:
			return false, err
		}
	}
}

// mayReplace returns an error if the installed program must not be replaced.
func (p Program) mayReplace(ctx context.Context, done *Installed) error {
	before, err := p.version(ctx, done.Path)
	if err != nil {
		if p.Force {
			return nil
		}
		return fmt.Errorf("%w: it is kept; move it to another directory, or give --force to replace it", err)
	}
	done.Before = before
	c, sure := compare(done.Version, done.Before)
	done.Incomparable = !sure
	if sure && c < 0 && !p.Force {
		return &NewerError{Path: done.Path, Installed: done.Before, Given: done.Version}
	}
	return nil
}

// checkPlugin returns an error if a file is not the program of the plugin.
func checkPlugin(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	b, err := buildinfo.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%s is not the plugin of masq-cni: %w", path, err)
	}
	if b.Path != mainPackage {
		return fmt.Errorf("%s is not the plugin of masq-cni: it was built from %s", path, masq.Quote(b.Path))
	}
	return nil
}

// about matches the output of the plugin when it is not called by a runtime.
var about = regexp.MustCompile(`^CNI plugin ` + Plugin + ` (\S+) \(`)

// versionOf runs the plugin to get its version. The build information lacks it: with
// -trimpath, Go leaves out the flags of the linker.
func versionOf(ctx context.Context, path string) (string, error) {
	if err := checkPlugin(path); err != nil {
		return "", err
	}
	full, err := filepath.Abs(path) // a bare name would be searched on PATH
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, full)
	c.Env = []string{} // without CNI_COMMAND
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", path, err)
	}
	m := about.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("ask %s for its version: its output is %s", path, masq.Quote(string(out)))
	}
	return string(m[1]), nil
}

// described matches a version as `git describe --tags --dirty` prints it: the tag, and the
// number of commits after it.
var described = regexp.MustCompile(`^v?(\d+\.\d.*?)(?:-(\d+)-g[0-9a-f]+)?(?:-dirty)?$`)

// compare compares two versions. sure is false for a version without a tag.
func compare(a, b string) (c int, sure bool) {
	tagA, sinceA, okA := parseVersion(a)
	tagB, sinceB, okB := parseVersion(b)
	if !okA || !okB {
		return 0, a == b
	}
	if c := semver.Compare(tagA, tagB); c != 0 {
		return c, true
	}
	return sinceA - sinceB, true
}

func parseVersion(s string) (tag string, since int, ok bool) {
	m := described.FindStringSubmatch(s)
	if m == nil || !semver.IsValid("v"+m[1]) {
		return "", 0, false
	}
	since, _ = strconv.Atoi(m[2]) // empty is 0
	return "v" + m[1], since, true
}

// Uninstall removes the program if it is the plugin, by its build information, or has the
// bytes of the source.
func (p Program) Uninstall(ctx context.Context, binDir string) (removed bool, err error) {
	d, err := lockDir(ctx, binDir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer d.release()
	path := filepath.Join(binDir, Plugin)
	err = checkPlugin(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil && !p.isSource(path):
		return false, fmt.Errorf("%w: it is kept", err)
	}
	return true, d.remove(Plugin)
}

// isSource reports whether a file has the bytes of the source.
func (p Program) isSource(path string) bool {
	src, err := os.Open(p.Source)
	if err != nil {
		return false
	}
	defer func() { _ = src.Close() }()
	info, err := os.Lstat(path)
	if err != nil {
		return false
	}
	equal, err := equalTo(src, path, info)
	return err == nil && equal
}
