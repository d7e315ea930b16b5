package safedir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const user = 12345 // unprivileged

// tree is a directory in which every user can make files, such as /tmp.
type tree struct {
	*testing.T
	dir string
}

func newTree(t *testing.T) tree {
	t.Helper()
	tr := tree{t, t.TempDir()}
	tr.mode("", 0o1777)
	return tr
}

func (t tree) at(name string) string { return filepath.Join(t.dir, name) }

func (t tree) check(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (t tree) mode(name string, mode os.FileMode) {
	t.Helper()
	if mode&0o1000 != 0 {
		mode = mode&0o777 | os.ModeSticky
	}
	t.check(os.Chmod(t.at(name), mode))
}

func (t tree) make(name string, mode os.FileMode, owner int) {
	t.Helper()
	t.check(os.Mkdir(t.at(name), 0o700))
	t.mode(name, mode)
	t.check(os.Lchown(t.at(name), owner, owner))
}

func (t tree) link(name, to string, owner int) {
	t.Helper()
	t.check(os.Symlink(to, t.at(name)))
	t.check(os.Lchown(t.at(name), owner, owner))
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		what           string
		make           func(tree)
		dir            string
		fails, private string // the component that all functions report, and that only CheckPrivate and CheckOwned report
		sticky         bool   // CheckOwned accepts it
	}{
		{"of root", func(t tree) { t.make("a", 0o755, 0) }, "a", "", "", false},
		{"of root, in a directory of root", func(t tree) { t.make("a", 0o755, 0); t.make("a/b", 0o700, 0) }, "a/b", "", "", false},
		{"missing", func(tree) {}, "a/b", "", "", false},
		{"missing, in a directory of root", func(t tree) { t.make("a", 0o755, 0) }, "a/b/c", "", "", false},
		{"where every user can write", func(tree) {}, ".", ".", "", true},
		{"mode 0777", func(t tree) { t.make("a", 0o777, 0) }, "a", "a", "", false},
		{"mode 1777", func(t tree) { t.make("a", 0o1777, 0) }, "a", "a", "", true},
		{"missing in mode 0777", func(t tree) { t.make("a", 0o777, 0) }, "a/b", "a", "", false},
		{"below mode 0777", func(t tree) { t.make("a", 0o777, 0); t.make("a/b", 0o700, 0) }, "a/b", "a", "", false},
		{"below mode 0777 and a safe directory", func(t tree) { t.make("a", 0o777, 0); t.make("a/b", 0o700, 0); t.make("a/b/c", 0o700, 0) }, "a/b/c", "a", "", false},
		{"made by a user", func(t tree) { t.make("a", 0o700, user) }, "a", "a", "", false},
		{"below a directory of a user", func(t tree) { t.make("a", 0o755, user); t.make("a/b", 0o700, 0) }, "a/b", "a", "", false},
		{"made by a user in a directory of root", func(t tree) { t.make("a", 0o755, 0); t.make("a/b", 0o755, user) }, "a/b", "", "a/b", false},
		{"of a group", func(t tree) { t.make("a", 0o775, 0) }, "a", "", "", false},
		{"link of root", func(t tree) { t.make("a", 0o755, 0); t.link("l", "a", 0) }, "l", "", "", false},
		{"link of a user to a directory of root", func(t tree) { t.make("a", 0o755, 0); t.link("l", "a", user) }, "l", "l", "", false},
		{"below a link of a user", func(t tree) { t.make("a", 0o755, 0); t.make("a/b", 0o755, 0); t.link("l", "a", user) }, "l/b", "l", "", false},
		{"link of root to a directory of a user", func(t tree) { t.make("a", 0o755, user); t.link("l", "a", 0) }, "l", "a", "", false},
		{"link of root out of the directory and back", func(t tree) {
			t.make("a", 0o755, 0)
			t.link("a/l", "../b", 0)
			t.make("b", 0o777, 0)
		}, "a/l", "b", "", false},
	} {
		t.Run(c.what, func(t *testing.T) {
			tr := newTree(t)
			c.make(tr)
			for name, f := range map[string]func(string) error{"Check": Check, "CheckPrivate": CheckPrivate, "CheckOwned": CheckOwned} {
				want := c.fails
				if name != "Check" && want == "" {
					want = c.private
				}
				if name == "CheckOwned" && c.sticky {
					want = ""
				}
				err := f(tr.at(c.dir))
				var unsafe *Error
				switch {
				case want == "" && err != nil:
					t.Errorf("%s: %v", name, err)
				case want != "" && (!errors.As(err, &unsafe) || unsafe.At != tr.at(want)):
					t.Errorf("%s: got %v, want an error that names %s", name, err, tr.at(want))
				case want != "" && !strings.HasPrefix(err.Error(), "directory "+tr.at(c.dir)+" is not safe: "):
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

func TestCheckLoop(t *testing.T) {
	tr := newTree(t)
	tr.link("a", "b", 0)
	tr.link("b", "a", 0)
	if err := Check(tr.at("a/c")); err == nil || !strings.Contains(err.Error(), "too many levels of symbolic links") {
		t.Error(err)
	}
}

func TestReadFile(t *testing.T) {
	tr := newTree(t)
	write := func(name string, owner int) {
		tr.check(os.WriteFile(tr.at(name), []byte("text"), 0o600))
		tr.check(os.Lchown(tr.at(name), owner, owner))
	}
	write("own", 0)
	write("user's", user)
	write("linked", 0)
	tr.check(os.Link(tr.at("linked"), tr.at("second hard link")))
	tr.link("link", "own", user)
	tr.check(syscall.Mkfifo(tr.at("fifo"), 0o600))
	for name, is := range map[string]bool{"own": true, "user's": false, "linked": false, "second hard link": false, "link": false, "fifo": false} {
		b, err := ReadFile(tr.at(name))
		if is != (err == nil) || is != (string(b) == "text") {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if _, err := ReadFile(tr.at("missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestWriteFile: a link that a user planted with the name of the file or of the temporary
// file is replaced, and its target does not change.
func TestWriteFile(t *testing.T) {
	for _, how := range []func(tr tree, name string){
		func(tr tree, name string) { tr.link(name, "victim", user) },
		func(tr tree, name string) { tr.check(os.Link(tr.at("victim"), tr.at(name))) },
		func(tr tree, name string) { tr.check(syscall.Mkfifo(tr.at(name), 0o666)) },
	} {
		for _, name := range []string{"file", "tmp"} {
			tr := newTree(t)
			tr.check(os.WriteFile(tr.at("victim"), []byte("unchanged"), 0o644))
			how(tr, name)
			tr.check(WriteFile(tr.at("file"), tr.at("tmp"), []byte("text")))
			if b, err := ReadFile(tr.at("file")); err != nil || string(b) != "text" {
				t.Errorf("%s: %q, %v", name, b, err)
			}
			if b, err := os.ReadFile(tr.at("victim")); err != nil || string(b) != "unchanged" {
				t.Errorf("%s: the target of the link: %q, %v", name, b, err)
			}
		}
	}
}

// TestFileReplacedWhileRead: a reader opens a file, and the file is replaced before IsOwn
// examines it. The reader gets the old text.
func TestFileReplacedWhileRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := WriteFile(path, path+".tmp", []byte("old")); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := WriteFile(path, path+".tmp", []byte("new")); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if !IsOwn(info) {
		t.Errorf("IsOwn refuses %+v", info.Sys())
	}
}
