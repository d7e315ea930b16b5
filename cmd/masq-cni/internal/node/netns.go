package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// enter moves the calling goroutine into a network namespace. The goroutine keeps its
// thread, so sockets that it opens and programs that it starts belong to the namespace. A
// goroutine that it starts does not.
func enter(name string) error {
	const remedy = "give a name that `ip netns` lists, or a path such as /proc/PID/ns/net"
	path, err := pathOf(name, "/run/netns", "/var/run/netns")
	if err != nil {
		return fmt.Errorf("--netns %q: %w; %s", name, err, remedy)
	}
	// Opening a FIFO would wait for its writer.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("--netns %q: open %s: %w", name, path, err)
	}
	defer func() { _ = unix.Close(fd) }()
	runtime.LockOSThread()
	err = unix.Setns(fd, unix.CLONE_NEWNET)
	switch {
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("--netns %q: %s is not a network namespace; %s", name, path, remedy)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("--netns %q: not permitted; run as root", name)
	case err != nil:
		return fmt.Errorf("--netns %q: enter %s: %w", name, path, err)
	}
	return nil
}

// pathOf returns the file of a network namespace: name is its path, or the name of a file
// in one of dirs, where ip(8) keeps them.
func pathOf(name string, dirs ...string) (string, error) {
	if strings.Contains(name, "/") {
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return "", errors.New("no such file")
		}
		return name, nil
	}
	if name == "" || name == "." || name == ".." {
		return "", errors.New("not a name")
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
	}
	return "", errors.New("there is no file " + filepath.Join(dirs[0], name))
}
