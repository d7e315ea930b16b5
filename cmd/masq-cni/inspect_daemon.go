package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// daemonOf tells by its lock whether a masqd works on the records of a directory.
func daemonOf(dir string) (report.Daemon, error) {
	path := filepath.Join(dir, "masqd.lock")
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return report.Daemon{}, nil
	}
	if err != nil {
		return report.Daemon{}, fmt.Errorf("is masqd running? %w", err)
	}
	defer func() { _ = f.Close() }()
	if pid := holder(f); pid != 0 {
		return report.Daemon{Running: true, PID: pid, Elsewhere: elsewhere(pid)}, nil
	}
	// /proc/locks leaves out those of processes that are not seen from here. To ask
	// by locking keeps a masqd that starts within these microseconds from its lock,
	// so it is asked last.
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return report.Daemon{Running: true}, nil
	case err != nil:
		return report.Daemon{}, fmt.Errorf("is masqd running? lock %s: %w", path, err)
	}
	return report.Daemon{}, nil // Close unlocks
}

// holder is the process that has a file locked, 0 where none is seen.
func holder(f *os.File) int {
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		return 0
	}
	all, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0
	}
	id := fmt.Sprintf("%02x:%02x:%d", unix.Major(s.Dev), unix.Minor(s.Dev), s.Ino)
	for line := range strings.Lines(string(all)) {
		// 1: FLOCK ADVISORY WRITE 4711 00:1a:42 0 EOF
		w := strings.Fields(line)
		if len(w) >= 6 && w[1] == "FLOCK" && w[5] == id {
			pid, _ := strconv.Atoi(w[4])
			return max(pid, 0)
		}
	}
	return 0
}

// elsewhere reports whether a process is known to be in another network namespace.
func elsewhere(pid int) bool {
	var here, there unix.Stat_t
	return unix.Stat("/proc/thread-self/ns/net", &here) == nil &&
		unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &there) == nil &&
		(here.Ino != there.Ino || here.Dev != there.Dev)
}
