package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/store"
)

// node is the one that a command is about: a network namespace, and the records of
// it.
type node struct {
	stateDir, netns string
	stateGiven      bool // by a flag
	// missing says once that the directory of the records does not exist.
	missing func()
}

// stateMissing reports whether the directory of the records does not exist.
func (n *node) stateMissing() bool {
	_, err := os.Stat(n.stateDir)
	return errors.Is(err, fs.ErrNotExist)
}

// flags declares them for every command.
func (n *node) flags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&n.stateDir, "state-dir", store.DefaultDir, "the `DIR` in which the plugin keeps its records")
	f.StringVar(&n.netns, "netns", "", "the network namespace of the node: the `NAME|PATH` of one, as ip netns lists it or as a file (default: this one)")
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		if n.stateDir == "" {
			return errors.New("--state-dir is empty; give a directory, or leave the flag out")
		}
		n.stateGiven = c.Flags().Changed("state-dir")
		n.missing = sync.OnceFunc(func() {
			_, _ = fmt.Fprintf(c.ErrOrStderr(), "note: %s does not exist: no container has been added on this node yet, or the records are in another directory; --state-dir gives it\n", n.stateDir)
		})
		return n.enter(c)
	}
}

// enter takes the calling goroutine into the namespace that a command was told of, if
// it was. Completion calls it itself: a command that is completed is not carried out,
// and what comes before it neither.
func (n *node) enter(c *cobra.Command) error {
	if !c.Flags().Changed("netns") {
		return nil
	}
	return enter(n.netns)
}

// enter takes the calling goroutine into a network namespace, for good: it keeps
// its thread, and what it opens or starts belongs there. What it starts with `go`
// does not.
func enter(name string) error {
	const mend = "give a name that `ip netns` lists, or a path such as /proc/PID/ns/net"
	path, err := pathOf(name, "/run/netns", "/var/run/netns")
	if err != nil {
		return fmt.Errorf("--netns %q: %w; %s", name, err, mend)
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
		return fmt.Errorf("--netns %q: %s is no network namespace; %s", name, path, mend)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("--netns %q: not permitted; run as root", name)
	case err != nil:
		return fmt.Errorf("--netns %q: enter %s: %w", name, path, err)
	}
	return nil
}

// pathOf finds the file that stands for a network namespace: a path, or a name in
// the directories where ip(8) keeps them.
func pathOf(name string, dirs ...string) (string, error) {
	if strings.Contains(name, "/") {
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return "", errors.New("there is no such file")
		}
		return name, nil
	}
	if name == "" || name == "." || name == ".." {
		return "", errors.New("is not a name")
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
	}
	return "", errors.New("there is no " + filepath.Join(dirs[0], name))
}
