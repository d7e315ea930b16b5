package kube

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/nstest"
)

// prefix begins the names of objects that could survive a killed test. The ID of the test's
// process follows.
const prefix = "nt-kube"

func own() string { return fmt.Sprint(prefix, os.Getpid()) }

// sweep removes cgroups and files of killed tests.
func sweep() error {
	left, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	errs := []error{err, nstest.SweepCgroups()}
	for _, path := range left {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), prefix), "-")
		if n, err := strconv.Atoi(pid); err == nil && errors.Is(unix.Kill(n, 0), unix.ESRCH) {
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}
