package nstest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NS is one network namespace of a Lab.
type NS struct {
	path string
	file *os.File // holds the namespace after its name is removed

	mu       sync.Mutex
	commands []*Command
	closers  []io.Closer
	closed   bool
}

// calm are the settings that every namespace starts with; see the package comment. ip_forward
// comes first, because it resets the others to the defaults of its mode.
var calm = [][2]string{
	{"net.ipv4.ip_forward", "0"},
	{"net.ipv4.conf.all.rp_filter", "0"},
	{"net.ipv4.conf.default.rp_filter", "0"},
	{"net.ipv4.tcp_mtu_probing", "0"},
	{"net.ipv4.icmp_ratelimit", "0"},
	{"net.ipv6.icmp.ratelimit", "0"},
}

// makeNS makes a namespace with this name, or with the name and a number if the process has
// several labs.
func makeNS(name string) (_ *NS, err error) {
	path, err := reserve(filepath.Join(netnsDir, name))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unbind(path))
		}
	}()
	bind := func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "none", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", path, err)
		}
		return nil
	}
	if err := onThread(bind); err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	n := &NS{path: path, file: file}
	if err := n.prepare(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return n, nil
}

func (n *NS) prepare() error {
	for _, s := range calm {
		if err := n.Sysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	return n.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
}

// Path returns the file of the namespace, for CNI_NETNS.
func (n *NS) Path() string { return n.path }

// Name returns the name for `ip netns exec`.
func (n *NS) Name() string { return filepath.Base(n.path) }

// Do calls f in the namespace, on a separate goroutine and thread, and returns its error. Sockets
// that f opens stay in the namespace and may be used by any goroutine. Goroutines that f starts
// run outside.
func (n *NS) Do(f func() error) error {
	return onThread(func() error {
		err := n.hold(func(fd int) error { return unix.Setns(fd, unix.CLONE_NEWNET) })
		if err != nil {
			return fmt.Errorf("enter %s: %w", n.Name(), err)
		}
		return f()
	})
}

// hold calls f with a descriptor of the namespace that stays open during a concurrent Close.
// Otherwise its number could be reused for another namespace, even the machine's.
func (n *NS) hold(f func(fd int) error) error {
	raw, err := n.file.SyscallConn()
	if err != nil {
		return err
	}
	if closed := raw.Control(func(fd uintptr) { err = f(int(fd)) }); closed != nil {
		return closed
	}
	return err
}

// onThread calls f on a thread that f may move into other namespaces. The thread returns to its
// own namespace. If it cannot, it stays locked and ends with the goroutine.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// The result if f ends the goroutine, as t.FailNow does.
		err := errors.New("the function ended its goroutine")
		defer func() { done <- err }()
		runtime.LockOSThread()
		home, openErr := os.Open("/proc/thread-self/ns/net")
		if openErr != nil {
			runtime.UnlockOSThread()
			err = openErr
			return
		}
		defer shut(home)
		defer func() {
			if e := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); e != nil {
				err = errors.Join(err, fmt.Errorf("return from namespace: %w", e))
				return
			}
			runtime.UnlockOSThread()
		}()
		err = f()
	}()
	return <-done
}

// Close ends the programs, servers and captures of the namespace and removes it. A test of a
// deleted namespace calls it early.
func (n *NS) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	closers, commands := n.closers, slices.Clone(n.commands)
	n.mu.Unlock()

	var errs []error
	for _, c := range slices.Backward(closers) {
		errs = append(errs, c.Close())
	}
	for _, c := range commands {
		c.kill()
	}
	errs = append(errs, killIn(n.path)) // processes that left their process group
	for _, c := range commands {
		_ = c.Wait() // reaps the process; it was killed, which is no error here
	}
	return errors.Join(append(errs, n.file.Close(), unbind(n.path))...)
}

// own registers c to be closed with the namespace.
func (n *NS) own(c io.Closer) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errors.Join(fmt.Errorf("%s is %w", n.Name(), ErrClosed), c.Close())
	}
	n.closers = append(n.closers, c)
	return nil
}

// reserve makes an empty file at path, or at path with the first unused number appended.
func reserve(path string) (string, error) {
	free := path
	for i := 2; ; i++ {
		f, err := os.OpenFile(free, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
		if err == nil {
			return free, f.Close()
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		free = fmt.Sprintf("%s.%d", path, i)
	}
}

// unbind removes the name of a namespace. The name may be missing already.
func unbind(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
