package daemon

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// gcPercent is the growth of the heap between two garbage collections: half of Go's
// default. It decides the peak at start, with tens of thousands of records.
const gcPercent = 50

// limitMemory has the garbage collector keep the heap below the memory limit of the
// cgroup if possible, so that a burst of work does not get masqd killed. The variables GOGC
// and GOMEMLIMIT override it.
func limitMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if n, ok := cgroupLimit("/proc/self/cgroup", "/sys/fs/cgroup"); ok {
		debug.SetMemoryLimit(n / 10 * 8) // the rest is for the program's text and the kernel's share
	}
}

// cgroupLimit returns the memory limit of this process's cgroup in bytes; ok is false
// if the cgroup has no limit.
func cgroupLimit(self, mount string) (limit int64, ok bool) {
	b, err := os.ReadFile(self)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		dir, file := mount, "memory.max"
		switch {
		case fields[0] == "0" && fields[1] == "":
		case strings.Contains(","+fields[1]+",", ",memory,"):
			dir, file = filepath.Join(mount, "memory"), "memory.limit_in_bytes"
		default:
			continue
		}
		// In a container the path is valid only on the host, and the container's own cgroup
		// is mounted as the root.
		for _, sub := range []string{fields[2], "/"} {
			text, err := os.ReadFile(filepath.Join(dir, sub, file))
			if err != nil {
				continue
			}
			// Without a limit it is "max", or close to 2^63.
			n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err == nil && n < 1<<50 && (!ok || n < limit) {
				limit, ok = n, true
			}
			break
		}
	}
	return limit, ok
}
