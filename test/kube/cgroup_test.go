package kube

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const groupsDir = "/sys/fs/cgroup"

// makeGroups makes a control group in each hierarchy, where the kubelet puts pods.
func makeGroups(name string) error {
	controllers, err := filepath.Glob(groupsDir + "/*")
	if err != nil {
		return err
	}
	for _, dir := range controllers {
		group := filepath.Join(dir, name)
		if err := os.MkdirAll(group, 0o755); err != nil {
			return err
		}
		// A cpuset takes no process before it knows where.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			all, err := os.ReadFile(filepath.Join(dir, file))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(group, file), all, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeGroups removes the groups of this name. Processes that were killed leave
// theirs a moment later.
func removeGroups(name string) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := tryRemoveGroups(name)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func tryRemoveGroups(name string) error {
	tops, err := filepath.Glob(filepath.Join(groupsDir, "*", name))
	if err != nil {
		return err
	}
	for _, top := range tops {
		var dirs []string
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, dir := range slices.Backward(dirs) {
			if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("remove %s: %w", dir, err)
			}
		}
	}
	return nil
}
