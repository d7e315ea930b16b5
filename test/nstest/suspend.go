package nstest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// stopPatience bounds the wait for the threads of a program that was sent SIGSTOP.
const stopPatience = time.Minute

// Suspend stops the program until Resume, and returns when all its threads have stopped. The
// kernel delivers SIGSTOP to one thread; on a busy machine others run until that thread does.
func (c *Command) Suspend() error {
	if err := c.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	deadline := time.Now().Add(stopPatience)
	for {
		running, err := runningThread(c.Process.Pid)
		if err != nil || running == "" {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d has not stopped: %s", c.Process.Pid, running)
		}
		time.Sleep(time.Millisecond)
	}
}

// Resume continues a program that Suspend stopped.
func (c *Command) Resume() error { return c.Process.Signal(syscall.SIGCONT) }

// runningThread returns the state line of a thread that has not stopped, or "".
func runningThread(pid int) (string, error) {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(stats) == 0 {
		return "", fmt.Errorf("process %d has no threads in /proc (%w)", pid, errors.Join(err, fs.ErrNotExist))
	}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			return "", err
		}
		// The name in parentheses may contain spaces; the state follows it (proc_pid_stat(5)).
		_, state, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')'):], []byte(" "))
		if !bytes.HasPrefix(state, []byte("T")) {
			return string(bytes.TrimSpace(stat)), nil
		}
	}
	return "", nil
}
