package kube

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/masq-cni/masq-cni/test/nstest"
)

const groupsDir = "/sys/fs/cgroup"

// makeGroups makes a cgroup in each hierarchy, in which the kubelet makes the cgroups of pods.
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
		// A cpuset accepts no process before it has CPUs and memory nodes.
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

// removeGroups removes the cgroups of this name or pattern.
func removeGroups(name string) error {
	tops, err := filepath.Glob(filepath.Join(groupsDir, "*", name))
	for _, top := range tops {
		err = errors.Join(err, nstest.RemoveCgroup(top))
	}
	return err
}
