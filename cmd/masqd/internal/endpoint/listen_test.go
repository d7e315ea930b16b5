package endpoint

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnixSocket checks the mode of a socket, that it replaces only the socket of a killed
// program, and that closing the listener removes it.
func TestUnixSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "masqd.sock")
	killed, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("unix:" + path); err == nil || !strings.Contains(err.Error(), "another program listens on "+path) {
		t.Errorf("Listen replaces the socket of a running program: %v", err)
	}
	killed.SetUnlinkOnClose(false)
	if err := killed.Close(); err != nil {
		t.Fatal(err)
	}
	// This masqd was killed before it renamed its socket.
	if err := os.Link(path, path+".new"); err != nil {
		t.Fatal(err)
	}
	l, err := Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	if got := written(l); got != path {
		t.Errorf("Addr is %s", got)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != fs.ModeSocket|socketMode {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); len(left) != 0 || err != nil {
		t.Errorf("remaining files %v, %v", left, err)
	}
	for name, make := range map[string]func(string) error{
		"a file":         func(p string) error { return os.WriteFile(p, []byte("text"), 0o600) },
		"a directory":    func(p string) error { return os.Mkdir(p, 0o700) },
		"a link":         func(p string) error { return os.Symlink(filepath.Join(dir, "elsewhere"), p) },
		"a file at .new": func(p string) error { return os.WriteFile(p+".new", []byte("text"), 0o600) },
		"a link at .new": func(p string) error { return os.Symlink(filepath.Join(dir, "elsewhere"), p+".new") },
	} {
		at := filepath.Join(t.TempDir(), "s")
		if err := make(at); err != nil {
			t.Fatal(err)
		}
		if _, err := Listen("unix:" + at); err == nil || !strings.Contains(err.Error(), "is not a socket") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Listen refuses a directory that every user can write to: they could replace the socket.
func TestUnixSocketInUnsafeDirectory(t *testing.T) {
	dir := t.TempDir()
	for _, mode := range []os.FileMode{0o777, 0o777 | os.ModeSticky} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Listen("unix:" + filepath.Join(dir, "s")); err == nil || !strings.Contains(err.Error(), "is not safe") {
			t.Errorf("%s: %v", mode, err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil { // the control
		t.Fatal(err)
	}
	l, err := Listen("unix:" + filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func written(l net.Listener) string { return l.Addr().String() }

// A listener does not remove a socket that has replaced its own.
func TestReplacedUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	for address, fault := range map[string]string{
		"127.0.0.1:9468": "", ":9468": "", "[::]:9468": "", "localhost:0": "", "unix:/run/masq-cni/masqd.sock": "",
		"9468": "missing port", "unix:masqd.sock": "is not the absolute path", "unix:": "is not the absolute path", "unix:/run/": "is not the absolute path",
		"unix:/" + strings.Repeat("x", 200): "too long by 98 bytes",
	} {
		if err := Check(address); (err == nil) != (fault == "") || err != nil && !strings.Contains(err.Error(), fault) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestLimitPerAddress checks that connections leave descriptors for repairs, and that each
// address has at least one connection.
func TestLimitPerAddress(t *testing.T) {
	for _, c := range []struct {
		limit     uint64
		open      int
		addresses int
		want      int
	}{
		{1 << 20, 30, 1, MaxConnections},
		{^uint64(0), 30, 3, MaxConnections},
		{128, 30, 1, MaxConnections},
		{100, 30, 1, 37},
		{100, 30, 2, 18},
		{64, 30, 1, 1},
		{20, 30, 0, 1},
	} {
		if got := limitPerAddress(c.limit, c.open, c.addresses); got != c.want {
			t.Errorf("share of %+v is %d", c, got)
		}
	}
	if n := Connections(1); n < 1 || n > MaxConnections {
		t.Errorf("Connections(1) is %d", n)
	}
}
