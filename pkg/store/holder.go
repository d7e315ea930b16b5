package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/safedir"
)

// Holder is the masqd that has locked the records.
type Holder struct {
	Running bool
	PID     int // 0 if masqd is not in the PID namespace of the caller
}

// ReadLock reads the lock file at a path. Without a file, it returns zero values.
func ReadLock(path string) (d Daemon, h Holder, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return d, h, nil
	}
	if err != nil {
		return d, h, fmt.Errorf("determine whether masqd runs: %w", err)
	}
	defer func() { _ = f.Close() }()
	if pid := lockedBy(f); pid != 0 {
		return ReadDaemon(f), Holder{true, pid}, nil
	}
	// /proc/locks omits the locks of processes outside our PID namespace. To find these,
	// try to lock. This is the last resort: a masqd that starts within these microseconds
	// has to wait (tryLock).
	err = safedir.TryLockShared(f)
	switch {
	case errors.Is(err, safedir.ErrLocked):
		return ReadDaemon(f), Holder{Running: true}, nil
	case err != nil:
		return d, h, fmt.Errorf("determine whether masqd runs: %w", err)
	}
	return ReadDaemon(f), h, nil // Close unlocks
}

// lockedBy returns the ID of the process that has locked a file for itself, or 0. A shared lock
// is not masqd's, but of another ReadLock.
func lockedBy(f *os.File) int {
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
		if len(w) >= 6 && w[1] == "FLOCK" && w[3] == "WRITE" && w[5] == id {
			pid, _ := strconv.Atoi(w[4])
			return max(pid, 0)
		}
	}
	return 0
}
