package kube

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// prefix begins the names of objects that could survive a killed test. The ID of the test's
// process follows.
const prefix = "nt-kube"

func own() string { return fmt.Sprint(prefix, os.Getpid()) }

// sweep removes cgroups and files of killed tests.
func sweep() error {
	var errs []error
	for _, dir := range []string{filepath.Join(groupsDir, "*"), os.TempDir()} {
		left, err := filepath.Glob(filepath.Join(dir, prefix+"*"))
		errs = append(errs, err)
		for _, path := range left {
			pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), prefix), "-")
			if n, err := strconv.Atoi(pid); err != nil || !errors.Is(unix.Kill(n, 0), unix.ESRCH) {
				continue
			}
			if dir == os.TempDir() {
				errs = append(errs, os.RemoveAll(path))
			} else {
				errs = append(errs, removeGroups(filepath.Base(path)))
			}
		}
	}
	return errors.Join(errs...)
}
