package nstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// killPatience bounds the wait for a program that was sent SIGKILL.
const killPatience = 5 * time.Second

// Command is a program that runs in a namespace. Set Stdin, Stdout, Env, Dir and
// so on as with exec.Cmd before it starts.
//
// It has its own process group, which is killed as a whole when the context ends or the
// namespace is closed.
type Command struct {
	*exec.Cmd
	ns   *NS
	once sync.Once
	err  error
}

// Command prepares a program. It does not run before Start, Run, Output or CombinedOutput.
func (n *NS) Command(ctx context.Context, name string, args ...string) *Command {
	c := &Command{Cmd: exec.CommandContext(ctx, name, args...), ns: n}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { c.kill(); return nil }
	// For a grandchild that left the group and holds the output open.
	c.WaitDelay = killPatience
	return c
}

// Start starts the program. A child process inherits the network namespace of the thread that
// forks it, so `ip netns exec` is not needed.
func (c *Command) Start() error {
	c.ns.mu.Lock()
	defer c.ns.mu.Unlock()
	if c.ns.closed {
		return fmt.Errorf("%s: %s is %w", c.Path, c.ns.Name(), ErrClosed)
	}
	if err := c.ns.Do(c.Cmd.Start); err != nil {
		return err
	}
	c.ns.commands = append(c.ns.commands, c)
	return nil
}

// Wait waits for the end of a started program. Unlike exec.Cmd.Wait it may be called several
// times and from several goroutines.
func (c *Command) Wait() error {
	c.once.Do(func() {
		c.err = c.Cmd.Wait()
		c.ns.mu.Lock()
		defer c.ns.mu.Unlock()
		c.ns.commands = slices.DeleteFunc(c.ns.commands, func(o *Command) bool { return o == c })
	})
	return c.err
}

// Run starts the program and waits for it.
func (c *Command) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the program and returns its standard output. Its standard error is part of the
// error.
func (c *Command) Output() ([]byte, error) {
	var out, diag bytes.Buffer
	c.Stdout, c.Stderr = &out, &diag
	err := c.Run()
	if err != nil && diag.Len() > 0 {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(diag.Bytes()))
	}
	return out.Bytes(), err
}

// CombinedOutput runs the program and returns its standard output and error.
func (c *Command) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

func (c *Command) kill() {
	if c.Process != nil {
		// ESRCH: the process has ended.
		_ = unix.Kill(-c.Process.Pid, unix.SIGKILL)
	}
}

// killIn kills the processes whose network namespace is the file at path, except this process,
// and waits until they have ended.
func killIn(path string) error {
	var space unix.Stat_t
	if err := unix.Stat(path, &space); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return fmt.Errorf("stat %s: %w", path, err)
	}
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	var errs []error
	for _, proc := range procs {
		pid, err := strconv.Atoi(filepath.Base(proc))
		if err != nil || pid == os.Getpid() || !inside(pid, space) {
			continue
		}
		if err := killAndWait(pid, space); err != nil {
			errs = append(errs, fmt.Errorf("kill process %d in %s: %w", pid, path, err))
		}
	}
	return errors.Join(errs...)
}

func inside(pid int, space unix.Stat_t) bool {
	var st unix.Stat_t
	err := unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &st)
	return err == nil && st.Ino == space.Ino && st.Dev == space.Dev
}

func killAndWait(pid int, space unix.Stat_t) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return ignoreGone(err)
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	defer shut(file)
	// The process ID may have been reused since the process was examined. The descriptor
	// still refers to the same process.
	if !inside(pid, space) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return ignoreGone(err)
	}
	deadline := time.Now().Add(killPatience)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return errors.New("still there after SIGKILL")
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n == 1 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func ignoreGone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}
