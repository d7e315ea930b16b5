package runtimes

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

const (
	cgroupRoot   = "/sys/fs/cgroup"
	cgroupPrefix = "nt-"
)

// cgroups makes a cgroup for a node in each hierarchy, below this process's cgroup, and
// removes them after the test. Runtimes make their cgroups within.
func cgroups(t testing.TB) (dirs []string) {
	t.Helper()
	own := assert.Must(ownCgroups())(t)
	assert.NoError(t, nstest.SweepCgroups())
	for _, parent := range own {
		dir, err := os.MkdirTemp(parent, fmt.Sprintf("%s%d-", cgroupPrefix, os.Getpid()))
		if err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dir)
		// An empty cpuset accepts no process (version 1).
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			if b, err := os.ReadFile(filepath.Join(parent, name)); err == nil {
				assert.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0))
			}
		}
	}
	t.Cleanup(func() {
		for _, dir := range dirs {
			if err := nstest.RemoveCgroup(dir); err != nil {
				t.Error(err)
			}
		}
	})
	return dirs
}

// ownCgroups returns the directories of this process's cgroups.
func ownCgroups() (dirs []string, err error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			return nil, fmt.Errorf("/proc/self/cgroup: %q", line)
		}
		dir := strings.TrimPrefix(part[1], "name=")
		if dir == "" && exists(filepath.Join(cgroupRoot, "unified")) {
			dir = "unified"
		}
		if dir = filepath.Join(cgroupRoot, dir, part[2]); exists(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
