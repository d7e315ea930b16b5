package runtimes

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestMain checks after all tests that nothing remains on the machine. Processes and mounts of
// a node end with its first process, which is a child of the test.
func TestMain(m *testing.M) {
	code := m.Run()
	dirs, _ := ownCgroups()
	for _, path := range append(dirs, "/run/netns") {
		left, _ := filepath.Glob(fmt.Sprintf("%s/nt-%d-*", path, os.Getpid()))
		if len(left) > 0 {
			fmt.Fprintln(os.Stderr, "left behind:", left)
			code = 1
		}
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, task := range tasks {
		if children, _ := os.ReadFile(task); len(children) > 0 {
			fmt.Fprintln(os.Stderr, "left behind: child", string(children))
			code = 1
		}
	}
	os.Exit(code)
}
