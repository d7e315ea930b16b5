package nstest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/safedir"
)

// netnsDir is where ip(8) and container runtimes look for named namespaces.
const netnsDir = "/run/netns"

var (
	// ErrNotRoot is the error of Make for users other than root.
	ErrNotRoot = errors.New("network namespaces need root")
	// ErrClosed is the error of a Lab or NS that was closed.
	ErrClosed = errors.New("closed")

	prefixPattern = regexp.MustCompile(`^[a-z][a-z0-9]{0,15}$`)
	namePattern   = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,31}$`)
)

// Lab owns a set of namespaces and everything that runs in them.
type Lab struct {
	prefix string

	mu     sync.Mutex
	spaces []*NS
	closed bool
}

// Make returns a Lab without namespaces. The prefix is a short word that identifies the
// program's namespaces, also for Sweep.
func Make(prefix string) (*Lab, error) {
	if !prefixPattern.MatchString(prefix) {
		return nil, fmt.Errorf("lab prefix %q does not match %s", prefix, prefixPattern)
	}
	if os.Geteuid() != 0 {
		return nil, ErrNotRoot
	}
	if err := shareDir(); err != nil {
		return nil, fmt.Errorf("%s: %w", netnsDir, err)
	}
	return &Lab{prefix: prefix}, nil
}

// Namespace makes a namespace with only a loopback, which is up.
func (l *Lab) Namespace(name string) (*NS, error) {
	if !namePattern.MatchString(name) {
		return nil, fmt.Errorf("namespace name %q does not match %s", name, namePattern)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("namespace %s: lab is %w", name, ErrClosed)
	}
	n, err := makeNS(fmt.Sprintf("%s-%d-%s", l.prefix, os.Getpid(), name))
	if err != nil {
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	l.spaces = append(l.spaces, n)
	return n, nil
}

// Close ends the programs in the namespaces and removes the namespaces, the newest first.
// A second call does nothing.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	var errs []error
	for _, n := range slices.Backward(l.spaces) {
		errs = append(errs, n.Close())
	}
	l.spaces = nil
	return errors.Join(errs...)
}

// Sweep ends the programs in the namespaces of labs with this prefix whose process has ended,
// and removes the namespaces.
func Sweep(prefix string) error {
	paths, err := filepath.Glob(filepath.Join(netnsDir, prefix+"-*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range paths {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), prefix+"-"), "-")
		if ended(pid) {
			errs = append(errs, killIn(path), unbind(path))
		}
	}
	return errors.Join(errs...)
}

// ended reports whether pid is a valid ID of a process, and no process has it.
func ended(pid string) bool {
	n, err := strconv.Atoi(pid)
	return err == nil && n > 0 && errors.Is(unix.Kill(n, 0), unix.ESRCH)
}

// shareDir prepares the directory as ip(8) does: as a shared mount, so that a namespace that is
// removed here also disappears from other mount namespaces. Other programs use the mount too, so
// it stays when the lab is closed.
func shareDir() error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(netnsDir)
	if err != nil {
		return err
	}
	defer shut(dir)
	// iproute2 takes the same lock, so that two programs do not mount over each other.
	if err := safedir.Lock(dir); err != nil {
		return err
	}
	err = unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) { // EINVAL: not a mount yet
		return err
	}
	if err := unix.Mount(netnsDir, netnsDir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "")
}
