package endpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/safedir"
)

const (
	// unixPrefix is the prefix of an address that is a Unix socket.
	unixPrefix = "unix:"
	// socketMode lets the owner and the group of the socket connect. The group is masqd's
	// group, or the group of the directory if the directory has the setgid bit.
	socketMode = 0o660
	// maxSocketPath is the longest path in struct sockaddr_un, without its final zero.
	maxSocketPath = 107
)

// IsUnix reports whether an address is a Unix socket, and returns its path.
func IsUnix(address string) (path string, ok bool) { return strings.CutPrefix(address, unixPrefix) }

// Check validates an address: ADDRESS:PORT, or unix: and the absolute path of a Unix socket.
func Check(address string) error {
	path, ok := IsUnix(address)
	if !ok {
		_, _, err := net.SplitHostPort(address)
		return err
	}
	if !filepath.IsAbs(path) || strings.HasSuffix(path, "/") {
		return fmt.Errorf("%q is not the absolute path of a socket; give one such as unix:/run/masq-cni/masqd.sock", path)
	}
	if n := len(temporary(path)); n > maxSocketPath {
		return fmt.Errorf("the path %s is too long by %d bytes for a Unix socket; give a shorter one", path, n-maxSocketPath)
	}
	return nil
}

// Listen listens on an address that Check accepts.
func Listen(address string) (net.Listener, error) {
	if path, ok := IsUnix(address); ok {
		return listenUnix(path)
	}
	return net.Listen("tcp", address)
}

// temporary returns the path at which a socket is created before it is renamed.
func temporary(path string) string { return path + ".new" }

// listenUnix creates a socket, sets its mode, and renames it to its path. It replaces only
// the socket of a masqd that was killed.
//
// The directory must be safe: a user with write access could replace the socket with a link
// before its mode is set.
func listenUnix(path string) (net.Listener, error) {
	if err := safedir.Check(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := checkReplaceable(path); err != nil {
		return nil, err
	}
	newPath := temporary(path)
	if err := checkReplaceable(newPath); err != nil {
		return nil, err
	}
	if err := os.Remove(newPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: newPath, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	fail := func(err error) (net.Listener, error) {
		return nil, errors.Join(err, l.Close(), os.Remove(newPath))
	}
	if err := os.Chmod(newPath, socketMode); err != nil {
		return fail(err)
	}
	info, err := os.Lstat(newPath)
	if err != nil {
		return fail(err)
	}
	if err := os.Rename(newPath, path); err != nil {
		return fail(err)
	}
	return &unixListener{UnixListener: l, path: path, info: info}, nil
}

// checkReplaceable returns an error if a new socket must not replace the file at a path.
func checkReplaceable(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is not a socket; remove it, or give another path", path)
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close()
	}
	if err == nil || !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("another program listens on %s; stop it, or give another path", path)
	}
	return nil
}

// unixListener removes its socket when it is closed, unless another file has replaced it.
type unixListener struct {
	*net.UnixListener
	path string
	info fs.FileInfo // identifies the socket file
	once sync.Once
}

// Addr implements net.Listener: it returns the final path.
func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close implements net.Listener.
func (l *unixListener) Close() error {
	l.once.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.info) {
			_ = os.Remove(l.path)
		}
	})
	return l.UnixListener.Close()
}
