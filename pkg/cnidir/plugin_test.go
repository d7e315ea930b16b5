package cnidir

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// versions returns the version of a test program, which is in its text.
func versions(_ context.Context, path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	version, is := strings.CutPrefix(string(b), "masq ")
	if !is {
		return "", errors.New(path + " is not the plugin of masq-cni")
	}
	return version, nil
}

func TestInstall(t *testing.T) {
	const given = "masq v1.2.0"
	for name, c := range map[string]struct {
		before string // empty for none
		force  bool
		want   Installed
		fails  string
	}{
		"none":              {want: Installed{Changed: true, Version: "v1.2.0"}},
		"older":             {before: "masq v1.1.9", want: Installed{Changed: true, Version: "v1.2.0", Before: "v1.1.9"}},
		"same":              {before: given},
		"same version":      {before: "masq v1.2.0-dirty", want: Installed{Changed: true, Version: "v1.2.0", Before: "v1.2.0-dirty"}},
		"no version":        {before: "masq dev", want: Installed{Changed: true, Version: "v1.2.0", Before: "dev", Incomparable: true}},
		"newer":             {before: "masq v1.10.0", fails: "masq has version v1.10.0, which is newer than v1.2.0"},
		"newer, by force":   {before: "masq v1.10.0", force: true, want: Installed{Changed: true, Version: "v1.2.0", Before: "v1.10.0"}},
		"another":           {before: "#!/bin/sh", fails: "is not the plugin of masq-cni: it is kept; move it to another directory, or give --force"},
		"another, by force": {before: "#!/bin/sh", force: true, want: Installed{Changed: true, Version: "v1.2.0", Before: "another program"}},
	} {
		dir := filepath.Join(t.TempDir(), "opt", "bin") // missing at first
		source, target := filepath.Join(t.TempDir(), "source"), filepath.Join(dir, "masq")
		write(t, source, given)
		if c.before != "" {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, target, c.before)
		}
		p := Program{Source: source, Force: c.force, version: versions}
		got, err := p.Install(t.Context(), dir)
		text, _ := os.ReadFile(target)
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) || string(text) != c.before {
				t.Errorf("%s: %v, and the file is %q", name, err, text)
			}
			continue
		}
		if c.want == (Installed{}) {
			c.want.Before = got.Before // nothing was replaced
		}
		c.want.Path = target
		if err != nil || got != c.want || string(text) != given {
			t.Errorf("%s: %+v, %v, and the file is %q", name, got, err, text)
		}
		info, err := os.Stat(target)
		if err != nil || info.Mode() != 0o755 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
		if again, err := p.Install(t.Context(), dir); err != nil || again.Changed {
			t.Errorf("%s, again: %+v, %v", name, again, err)
		}
		if now, err := os.Stat(target); err != nil || !os.SameFile(now, info) {
			t.Errorf("%s: the file was written a second time (%v)", name, err)
		}
		if err := os.Chmod(target, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = p.Install(t.Context(), dir)
		if now, errStat := os.Stat(target); err != nil || errStat != nil || now.Mode() != 0o755 {
			t.Errorf("%s: the mode was not restored: %v, %v, %v", name, now.Mode(), err, errStat)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("%s: the files are %v, %v", name, entries, err)
		}
	}
}

// A symbolic link in place of the plugin is not followed.
func TestInstallOverALink(t *testing.T) {
	dir, source := t.TempDir(), filepath.Join(t.TempDir(), "source")
	write(t, source, "masq v1.2.0")
	other := filepath.Join(t.TempDir(), "other")
	write(t, other, "masq v1.0.0")
	if err := os.Symlink(other, filepath.Join(dir, "masq")); err != nil {
		t.Fatal(err)
	}
	if _, err := (Program{Source: source}).Install(t.Context(), dir); err == nil {
		t.Error("a link was replaced without an error")
	}
	if _, err := (Program{Source: source, Force: true, version: versions}).Install(t.Context(), dir); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(other); err != nil || string(text) != "masq v1.0.0" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestUninstall(t *testing.T) {
	dir, source := t.TempDir(), filepath.Join(t.TempDir(), "source")
	target := filepath.Join(dir, "masq")
	write(t, source, "masq v1.2.0")
	p := Program{Source: source}
	for _, path := range []string{dir, filepath.Join(dir, "nowhere")} {
		if removed, err := p.Uninstall(t.Context(), path); removed || err != nil {
			t.Errorf("%s: %t, %v", path, removed, err)
		}
	}
	write(t, target, "another program")
	if removed, err := p.Uninstall(t.Context(), dir); removed || err == nil || !strings.Contains(err.Error(), "is kept") {
		t.Errorf("%t, %v", removed, err)
	}
	write(t, target, "masq v1.2.0")
	if removed, err := p.Uninstall(t.Context(), dir); !removed || err != nil {
		t.Errorf("%t, %v", removed, err)
	}
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the plugin still exists: %v", err)
	}
}

// A large file with another last byte, and a longer file.
func TestEqual(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	long := bytes.Repeat([]byte("x"), 200_000)
	for text, want := range map[string]bool{string(long): true, string(long[1:]) + "y": false, string(long) + "x": false, "": false} {
		write(t, a, string(long))
		write(t, b, text)
		src, err := os.Open(a)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(b)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := equalTo(src, b, info); err != nil || got != want {
			t.Errorf("%d bytes, %q at the end: %t, %v", len(text), text[max(0, len(text)-1):], got, err)
		}
		_ = src.Close()
	}
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
		sure bool
	}{
		{"v1.2.3", "v1.2.3", 0, true},
		{"v1.2.3", "1.2.3", 0, true},
		{"v1.2.3", "v1.2.3-dirty", 0, true},
		{"v1.2.10", "v1.2.9", 1, true},
		{"v1.2.3", "v1.2.3-4-g0123abc", -1, true},
		{"v1.2.3-12-g0123abc-dirty", "v1.2.3-4-gabc0123", 1, true},
		{"v1.2.3-rc.1", "v1.2.3", -1, true},
		{"v1.2.3-rc.1-7-g0123abc", "v1.2.3-rc.1", 1, true},
		{"v1.2.3-rc.1-7-g0123abc", "v1.2.3", -1, true},
		{"v2.0.0", "v1.99.99-1-gabc", 1, true},
		{"dev", "v1.0.0", 0, false},
		{"0e97756", "1234567", 0, false}, // commits
		{"0e97756-dirty", "v1.0.0", 0, false},
		{"dev", "dev", 0, true},
		{"v1", "v2", 0, false},
		{"v01.2.3", "v1.2.3", 0, false},
	} {
		if got, sure := compare(c.a, c.b); sign(got) != c.want || sure != c.sure {
			t.Errorf("%s to %s: %d, %t", c.a, c.b, got, sure)
		}
		if got, sure := compare(c.b, c.a); sign(got) != -c.want || sure != c.sure {
			t.Errorf("%s to %s: %d, %t", c.b, c.a, got, sure)
		}
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
}
