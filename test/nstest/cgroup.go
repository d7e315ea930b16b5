package nstest

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where the hierarchies of cgroups are mounted.
const cgroupRoot = "/sys/fs/cgroup"

// testCgroup matches the names of cgroups of tests. The number is the ID of the test's process.
var testCgroup = regexp.MustCompile(`^nt-(?:kube|deploy-)?(\d+)(?:-|$)`)

// SweepCgroups removes the cgroups of tests whose process has ended. It keeps a
// cgroup with a process, which a test in another PID namespace may use. Call Sweep before: it ends
// the processes that killed tests left in their network namespaces.
func SweepCgroups() error {
	var left []string
	err := filepath.WalkDir(cgroupRoot, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // another program removed it
			return nil
		}
		if err != nil || !d.IsDir() {
			return err
		}
		name := testCgroup.FindStringSubmatch(d.Name())
		if name == nil {
			return nil
		}
		if ended(name[1]) {
			left = append(left, path)
		}
		return fs.SkipDir
	})
	for _, dir := range left {
		if failed := removeTree(dir); !errors.Is(failed, unix.EBUSY) {
			err = errors.Join(err, failed)
		}
	}
	return err
}

// RemoveCgroup removes a cgroup and its children. Their processes must have been killed; it waits
// at most a minute until they have left the cgroups.
func RemoveCgroup(dir string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(time.Minute)
	for {
		err := removeTree(dir)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
		<-tick.C
	}
}

func removeTree(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, d := range slices.Backward(dirs) {
		if err := unix.Rmdir(d); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove cgroup %s: %w", d, err)
		}
	}
	return nil
}
