package veth

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespace is an open file of a network namespace.
type namespace struct {
	fd   int
	name string // for messages
}

func openNamespace(path string) (namespace, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return namespace{}, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	return namespace{fd, path}, nil
}

// namespaceOf returns the network namespace of a socket. Requires Linux 4.9 (SIOCGSKNS).
func namespaceOf(c *socket) (namespace, error) {
	fd, err := unix.IoctlRetInt(c.c.FD(), unix.SIOCGSKNS)
	if err != nil {
		return namespace{}, fmt.Errorf("find the network namespace of a socket: %w", err)
	}
	return namespace{fd, "the node"}, nil
}

// close closes the file. A caller could do nothing about an error.
func (n namespace) close() { _ = unix.Close(n.fd) }

// same reports whether both files are of the same namespace.
func (n namespace) same(o namespace) (bool, error) {
	var a, b unix.Stat_t
	if err := errors.Join(unix.Fstat(n.fd, &a), unix.Fstat(o.fd, &b)); err != nil {
		return false, fmt.Errorf("compare network namespace %s with that of %s: %w", n.name, o.name, err)
	}
	return a.Dev == b.Dev && a.Ino == b.Ino, nil
}

// within runs f on a locked thread in the namespace. If the thread cannot return to its own
// namespace, it ends with its goroutine, so that no other goroutine runs in the wrong
// namespace.
func (n namespace) within(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		restored, err := n.enter(f)
		if restored {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// enter runs f in the namespace, on the calling thread, and reports whether the thread is
// in its own namespace again.
func (n namespace) enter(f func() error) (restored bool, err error) {
	home, err := openNamespace("/proc/thread-self/ns/net")
	if err != nil {
		return true, err
	}
	defer home.close()
	if same, err := n.same(home); err != nil {
		return true, err
	} else if same {
		return true, f()
	}
	if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
		return true, fmt.Errorf("enter network namespace %s: %w", n.name, err)
	}
	err = f()
	return unix.Setns(home.fd, unix.CLONE_NEWNET) == nil, err
}

// dial is the function dial in the namespace.
func (n namespace) dial(buffer int) (c *socket, err error) {
	err = n.within(func() (err error) {
		c, err = dial(buffer)
		return err
	})
	return c, err
}
