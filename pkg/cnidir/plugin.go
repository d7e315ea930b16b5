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

// mainPackage is what the build notes in the plugin's program, stripped or not.
const mainPackage = "github.com/masq-cni/masq-cni/plugins/masq"

// Program is the plugin's, to be installed.
type Program struct {
	// Source is the file.
	Source string
	// Force puts it in the place of a newer one, or of a file that is not ours.
	Force bool

	version func(context.Context, string) (string, error) // nil in earnest
}

// Installed tells what came of it.
type Installed struct {
	Path    string
	Changed bool
	// Version and Before are what the programs call themselves, where one had to give
	// way: Before is "none" where there was none, and "another program" where it was
	// not ours.
	Version, Before string
	// Unsure says that the two versions cannot be compared.
	Unsure bool
}

// NewerError says that a newer plugin is there.
type NewerError struct{ Path, Has, Given string }

func (e *NewerError) Error() string {
	return fmt.Sprintf("%s is of version %s, and %s is older; it is left as it is: give --force to have the older", e.Path, e.Has, e.Given)
}

// Install puts the program into a directory of plugins, which is made if need be. One
// that has the same bytes is left alone.
func (p Program) Install(ctx context.Context, binDir string) (done Installed, err error) {
	if p.version == nil {
		p.version = versionOf
	}
	done.Path, done.Before = filepath.Join(binDir, Plugin), "none"
	if err := os.MkdirAll(binDir, 0o755); err != nil {
		return done, err
	}
	d, err := take(ctx, binDir)
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
	// Nothing is open for writing yet: what is started here would keep it open.
	if done.Version, err = p.version(ctx, p.Source); err != nil {
		return done, err
	}
	if done.Before != "none" {
		if err := p.mayReplace(ctx, &done); err != nil {
			return done, err
		}
	}
	if err := d.replacement(Plugin, programMode, nil).Replace(src); err != nil {
		return done, fmt.Errorf("write %s: %w", done.Path, err)
	}
	done.Changed = true
	return done, nil
}

// programMode is that of a program that anybody may run.
const programMode = 0o755

// equalTo compares a program with one that is there.
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

// mayReplace reports why the program that is there is not to be replaced.
func (p Program) mayReplace(ctx context.Context, done *Installed) error {
	before, err := p.version(ctx, done.Path)
	if err != nil {
		if p.Force {
			return nil
		}
		return fmt.Errorf("%w; it is left as it is: move it away, or give --force to have it replaced", err)
	}
	done.Before = before
	c, sure := compare(done.Version, done.Before)
	done.Unsure = !sure
	if sure && c < 0 && !p.Force {
		return &NewerError{Path: done.Path, Has: done.Before, Given: done.Version}
	}
	return nil
}

// ours reports why a file is not the plugin's program.
func ours(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", path)
	}
	b, err := buildinfo.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%s is not the plugin of masq-cni: %w", path, err)
	}
	if b.Path != mainPackage {
		return fmt.Errorf("%s is not the plugin of masq-cni, but a program made of %s", path, masq.Quote(b.Path))
	}
	return nil
}

// about is what the plugin says when no runtime calls it.
var about = regexp.MustCompile(`^CNI plugin ` + Plugin + ` (\S+) \(`)

// versionOf asks a program that is ours what version it is. The build's own note of
// the version would need no start of it, but has none: with -trimpath it leaves out
// what the linker was told.
func versionOf(ctx context.Context, path string) (string, error) {
	if err := ours(path); err != nil {
		return "", err
	}
	full, err := filepath.Abs(path) // else a name would be looked for on PATH
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
		return "", fmt.Errorf("ask %s for its version: it says %s", path, masq.Quote(string(out)))
	}
	return string(m[1]), nil
}

// described is a version as `git describe --tags --dirty` says it: the tag, and how
// many commits came after it.
var described = regexp.MustCompile(`^v?(\d+\.\d.*?)(?:-(\d+)-g[0-9a-f]+)?(?:-dirty)?$`)

// compare orders two versions. It is not sure of those that have no tag.
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

// Uninstall removes the program, if there is one and it is ours: as the build notes,
// or the same as the source.
func (p Program) Uninstall(ctx context.Context, binDir string) (removed bool, err error) {
	d, err := take(ctx, binDir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer d.release()
	path := filepath.Join(binDir, Plugin)
	err = ours(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil && !p.isSource(path):
		return false, fmt.Errorf("%w; it is left as it is", err)
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
